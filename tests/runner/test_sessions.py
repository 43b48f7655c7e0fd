"""Jobs in tmux: one session however often asked, revived when dead, watched, stopped, removed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from socket import AF_UNIX
from socket import socket as Socket
from typing import Any

import pytest

from jobs.remote.offload_runner.protocol import Plan, Task
from tests.support.runner_root import SESSION, RunnerRoot, is_running, wait_for

SLEEPER = Task("a", "A", shell="echo $$; sleep 300")


def finished(root: RunnerRoot, session: str = SESSION) -> list[dict[str, Any]]:
    wait_for(lambda: root.kinds("finished", session))
    return root.kinds("finished", session)


def output(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.read()


def screen_text(root: RunnerRoot) -> str:
    return root.tmux("capture-pane", "-p", "-t", f"={SESSION}:")


def test_two_equal_starts_at_once_give_one_session(root: RunnerRoot) -> None:
    root.job([SLEEPER])
    calls = [root.spawn("start", spec={"session": SESSION}) for _ in range(3)]
    answers = [json.loads(output(call).splitlines()[-1]) for call in calls]
    assert sorted(answer["created"] for answer in answers) == [False, False, True]
    assert root.tmux("list-sessions", "-F", "#{session_name}").split() == [SESSION]
    assert len(root.kinds("started")) == 1


def test_the_plan_is_taken_once(root: RunnerRoot) -> None:
    job = root.job([])
    (job / "plan.json").unlink()
    plans = [Plan(job={}, tasks=[Task(name, name, shell="echo x")]).to_json() for name in ("one", "two")]
    root.lines("start", spec={"session": SESSION, "plan": plans[0]})
    root.lines("start", spec={"session": SESSION, "plan": plans[1]})
    assert json.loads((job / "plan.json").read_text())["tasks"][0]["id"] == "one"
    refused = root.call("start", spec={"session": SESSION + "-x", "plan": {}})
    assert json.loads(refused.stdout.splitlines()[-1])["code"] == "not_found"


def test_names_that_begin_alike_are_not_confused(root: RunnerRoot) -> None:
    longer = SESSION + "-2"
    root.job([SLEEPER], longer)
    root.start(longer)
    root.job([SLEEPER])
    assert root.call("peek", "--session", SESSION).returncode == 66
    root.lines("clean", "--session", SESSION, "--force")
    assert root.tmux("list-sessions", "-F", "#{session_name}").split() == [longer]


def test_the_session_is_free_of_the_callers_variables(root: RunnerRoot) -> None:
    root.job([Task("a", "A", argv=["env"])])
    secrets = {"MY_TOKEN": "hunter2", "OFFLOAD_HOME": "/private", "DJANGO_SETTINGS_MODULE": "x"}
    done = root.call("start", spec={"session": SESSION, "env": {"GH_TOKEN": "hunter2"}}, env=secrets)
    assert done.returncode == 0, done.stderr
    finished(root)
    everything = root.tmux("show-environment", "-g") + root.tmux("show-environment", "-t", f"={SESSION}")
    assert "hunter2" not in everything + root.log("a")
    assert "OFFLOAD_HOME" not in everything
    assert "DJANGO" not in everything


def test_a_killed_runner_is_revived_in_its_session(root: RunnerRoot) -> None:
    job = root.job([Task("a", "A", shell="echo $$; [ -e {job_dir}/go ] || sleep 300")])
    root.start()
    pid = wait_for(lambda: root.kinds("started"))[0]["pid"]
    wait_for(lambda: root.log("a"))
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: root.lines("status")[0]["pane_dead"])
    assert root.lines("status")[0]["state"] == "interrupted"
    (job / "go").touch()
    assert root.start()["created"] is True
    assert finished(root)[0]["state"] == "succeeded"
    assert root.start()["created"] is False


def test_a_killed_session_interrupts_and_can_be_started_again(root: RunnerRoot) -> None:
    job = root.job([Task("a", "A", shell="echo $$; [ -e {job_dir}/go ] || sleep 300")])
    root.start()
    sleeper = int(wait_for(lambda: root.log("a").split())[0])
    root.tmux("kill-session", "-t", f"={SESSION}")
    wait_for(lambda: not is_running(sleeper))
    wait_for(lambda: not root.lines("status")[0]["alive"])
    assert root.outcomes() == {"a": "interrupted"}
    (job / "go").touch()
    assert root.start()["created"] is True
    assert finished(root)[0]["state"] == "succeeded"


def test_the_work_is_noted_when_the_terminal_went_before_the_signal(root: RunnerRoot) -> None:
    # Another second of work after the terminal went: the live table is drawn each tenth of it.
    shell = "echo begun; until [ -e {job_dir}/go ]; do sleep 0.05; done; sleep 1"
    job = root.job([Task("a", "A", shell=shell)])
    master, slave = os.openpty()
    argv = root.argv("run", "--session", SESSION)
    # A session without this as its controlling terminal: it gets no SIGHUP.
    with subprocess.Popen(argv, start_new_session=True, stdin=slave, stdout=slave, stderr=slave) as runner:
        os.close(slave)
        wait_for(lambda: "begun" in root.log("a"))
        os.close(master)
        (job / "go").touch()
        wait_for(lambda: root.kinds("finished") or runner.poll() is not None)
        assert root.outcomes() == {"a": "succeeded"}
        runner.terminate()


def test_a_failed_job_started_again_is_retried_in_a_further_window(root: RunnerRoot) -> None:
    job = root.job([Task("a", "A", argv=["test", "-e", "{job_dir}/go"], evidence=False)])
    root.start()
    finished(root)
    wait_for(lambda: "q shell" in screen_text(root))
    (job / "go").touch()
    assert root.start()["created"] is True
    wait_for(lambda: len(root.kinds("finished")) == 2)
    assert root.kinds("finished")[1]["state"] == "succeeded"


def test_the_live_table_the_log_the_shell_and_the_summary(root: RunnerRoot) -> None:
    root.job(
        [
            Task("a", "Install", argv=["true"]),
            Task(
                "b", "Tests", shell="echo said-this; until [ -e {job_dir}/go ]; do sleep 0.05; done; exit 1"
            ),
        ],
        parallel=2,
    )

    def keys(*words: str) -> None:
        root.tmux("send-keys", "-t", f"={SESSION}:", *words)

    def shows(text: str) -> None:
        wait_for(lambda: text in screen_text(root))

    root.start()
    shows("✓ ok         Install")
    shows("▸ running    Tests")
    shows("said-this")
    shows("1 of 2 done")
    root.tmux("resize-window", "-x", "60", "-y", "12", "-t", f"={SESSION}:")
    wait_for(lambda: "▸ running    Tests" in screen_text(root) and len(screen_text(root).splitlines()) <= 12)
    assert max(map(len, screen_text(root).splitlines())) <= 60
    keys("C-c")
    shows("Ctrl-C does not end a job")
    keys("q")
    shows("`exit` comes back; the run goes on")
    keys("echo in-$PWD", "Enter")
    shows("in-")
    (root.path / "jobs" / SESSION / "go").touch()
    finished(root)
    keys("exit", "Enter")
    shows("Tests, last lines")
    shows("Every task has ended.")
    keys("1")
    shows("1 Install: l log")
    keys("2", "l")
    shows("(END)")
    keys("q")
    shows("2 Tests: l log")
    assert root.lines("status")[0]["pane_dead"] is False


def test_an_empty_plan_goes_straight_to_the_shell(root: RunnerRoot) -> None:
    root.job([], job={"target": "#1", "action": "open"})
    root.start()
    assert finished(root)[0]["state"] == "succeeded"
    wait_for(lambda: "`exit` comes back" in screen_text(root))
    assert "Every task" not in screen_text(root)
    assert "0.0s" not in screen_text(root)
    root.tmux("send-keys", "-t", f"={SESSION}:", "pwd > ../../seen", "Enter")
    seen = wait_for(lambda: (root.path / "seen").exists() and (root.path / "seen").read_text())
    assert seen.strip() == str(root.path / "worktrees" / SESSION)


def test_what_is_typed_while_an_empty_plan_ends_reaches_the_shell(root: RunnerRoot) -> None:
    root.job([], job={"target": "#1", "action": "open"})
    root.start()
    for number in range(5):
        root.tmux("send-keys", "-t", f"={SESSION}:", f"echo {number} >> ../../typed", "Enter")
    typed = root.path / "typed"
    wait_for(lambda: typed.exists() and typed.read_text() == "0\n1\n2\n3\n4\n")


def test_stop_ends_everything_and_says_so_only_then(root: RunnerRoot) -> None:
    family = "trap '' TERM; echo $$; setsid sleep 300 & echo $!; wait"
    root.job([Task("a", "A", shell=family), Task("b", "B", argv=["true"], needs=["a"])])
    root.start()
    pids = wait_for(lambda: len(root.log("a").split()) == 2 and [int(w) for w in root.log("a").split()])
    answer = root.lines("stop", "--session", SESSION, "--grace", "0.3")[-1]
    assert (answer["was_running"], answer["processes"]) == (True, 0)
    assert [pid for pid in pids if is_running(pid)] == []
    assert root.outcomes() == {"a": "cancelled", "b": "cancelled"}
    (end,) = root.kinds("finished")
    assert (end["state"], end["reason"]) == ("cancelled", "cancelled_by_user")
    again = root.lines("stop", "--session", SESSION)[-1]
    assert (again["was_running"], len(root.kinds("finished"))) == (False, 1)


def test_stop_finishes_what_a_killed_runner_left(root: RunnerRoot) -> None:
    root.job([SLEEPER])
    runner = root.spawn_run()
    sleeper = int(wait_for(lambda: root.log("a").split())[0])
    runner.kill()
    runner.wait()
    assert root.lines("stop", "--session", SESSION, "--grace", "0.3")[-1]["was_running"] is False
    assert not is_running(sleeper)
    assert root.kinds("finished")[0]["state"] == "cancelled"
    assert root.outcomes() == {"a": "cancelled"}


def test_clean_refuses_a_running_job_and_removes_it_by_force(root: RunnerRoot) -> None:
    job = root.job([SLEEPER])
    root.start()
    sleeper = int(wait_for(lambda: root.log("a").split())[0])
    refused = root.call("clean", "--session", SESSION)
    assert refused.returncode == 77
    assert json.loads(refused.stdout.splitlines()[-1])["code"] == "running"
    answer = root.lines("clean", "--session", SESSION, "--force")[-1]
    assert (answer["worktree"], answer["tmux"], answer["processes"]) == (True, True, 0)
    assert not is_running(sleeper)
    assert not job.exists()
    assert not (root.path / "worktrees" / SESSION).exists()
    assert root.tmux("list-sessions") == ""
    assert root.lines("clean", "--session", SESSION)[-1]["type"] == "cleaned"


# Following


class Stream:
    """The lines of a `follow`."""

    def __init__(self, root: RunnerRoot, since: dict[str, int], *flags: str) -> None:
        self.process = root.spawn("follow", *flags, spec={"since": since})
        assert self.process.stdout is not None
        self.read()

    def read(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(self.process.stdout.readline())  # type: ignore[union-attr]
        return line

    def until(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = []
        while not lines or lines[-1]["type"] != kind or not fields.items() <= lines[-1].items():
            lines.append(self.read())
        return lines


def numbers(lines: list[dict[str, Any]], session: str = SESSION) -> list[int]:
    return [line["event"]["seq"] for line in lines if line["type"] == "event" and line["session"] == session]


@pytest.mark.parametrize("since", [0, 1, 3, 6, 99])
def test_follow_begins_after_any_number(root: RunnerRoot, since: int) -> None:
    root.job([Task("a", "A", argv=["true"]), Task("b", "B", argv=["true"])])
    root.run()
    lines = Stream(root, {SESSION: since}, "--once").until("synced")
    assert numbers(lines) == [n for n in range(1, 7) if n > since]
    status = lines[-2]
    assert (status["alive"], status["tmux"], status["seq"], status["state"]) == (False, False, 6, "succeeded")


def test_follow_tells_everything_once_and_in_order(root: RunnerRoot) -> None:
    stream = Stream(root, {})
    assert [line["type"] for line in stream.until("synced")] == ["synced"]
    sessions = [f"offload-demo-{number}-review" for number in range(5)]
    for session in sessions:
        root.job([Task(f"t{n}", "T", argv=["true"]) for n in range(5)], session)
    runners = [root.spawn_run(session) for session in sessions]
    lines: list[dict[str, Any]] = []
    open_sessions = set(sessions)
    while open_sessions:
        lines += stream.until("status", alive=False)
        if lines[-1]["state"] == "succeeded":
            open_sessions.discard(lines[-1]["session"])
    assert [runner.wait(30) for runner in runners] == [0] * 5
    for session in sessions:
        assert numbers(lines, session) == list(range(1, 13))


def test_an_end_is_told_before_the_death_of_its_runner(root: RunnerRoot) -> None:
    root.job([Task("a", "A", argv=["true"])])
    stream = Stream(root, {})
    root.spawn_run()
    lines = stream.until("status", alive=False, state="succeeded")
    assert numbers(lines) == [1, 2, 3, 4]
    assert [
        line["state"] for line in lines if line["type"] == "status" and line["seq"] and not line["alive"]
    ] == ["succeeded"]


def test_follow_ends_when_nobody_reads(root: RunnerRoot) -> None:
    root.job([Task("a", "A", argv=["true"])])
    stream = Stream(root, {})
    stream.until("synced")
    assert stream.process.stdout is not None
    stream.process.stdout.close()
    assert stream.process.wait(10) in (0, 69)


def test_follow_is_cheap_with_many_jobs(root: RunnerRoot) -> None:
    for number in range(50):
        job = root.job([Task("a", "A", argv=["true"])], f"offload-demo-{number}-review")
        (job / "events.jsonl").write_text(
            json.dumps({"seq": 1, "at": "2026-01-01T00:00:00Z", "kind": "note"}) + "\n"
        )
    stream = Stream(root, {})
    assert len(stream.until("synced")) == 101
    stat = Path(f"/proc/{stream.process.pid}/stat")
    before = sum(map(int, stat.read_text().split()[13:15]))
    stream.until("ping")
    spent = (sum(map(int, stat.read_text().split()[13:15])) - before) / os.sysconf("SC_CLK_TCK")
    assert spent < 0.75, f"{spent} s of CPU in five seconds"


def test_bytes_of_a_log_from_any_place(root: RunnerRoot) -> None:
    root.job([Task("a", "A", shell="printf 0123456789")])
    assert root.call("log", "--session", SESSION, "--task", "a").stdout == b""
    root.run()
    part = root.call("log", "--session", SESSION, "--task", "a", "--offset", "3", "--limit", "4")
    assert part.stdout == b"3456"
    unknown = root.call("log", "--session", SESSION, "--task", "z")
    assert (unknown.returncode, unknown.stdout) == (66, b"")


def test_a_removed_socket_comes_back(root: RunnerRoot) -> None:
    """systemd-tmpfiles removes old sockets of servers that live."""
    root.job([SLEEPER])
    root.start()
    pid = int(root.tmux("display-message", "-p", "#{pane_pid}"))
    socket = root.path / "tmux" / f"{root.layout.tmux_socket}.sock"
    with Socket(AF_UNIX) as stale:
        for put in (
            lambda: None, lambda: socket.write_text("x"), socket.mkdir, lambda: stale.bind(str(socket)),
            lambda: socket.symlink_to("nowhere"), lambda: socket.parent.chmod(0o777),
        ):  # fmt: skip
            socket.unlink()
            put()
            (status,) = root.lines("status", "--session", SESSION)[:1]
            assert status["tmux"]
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(socket.parent)
    answer = root.lines("clean", "--session", SESSION, "--force")[-1]
    assert answer["tmux"]
    assert not is_running(pid)


def test_a_server_of_an_older_version_is_found(root: RunnerRoot, tmp_path: Path) -> None:
    """Older versions left the socket in tmux's own directory."""
    root.job([SLEEPER])
    name = str(root.layout.tmux_socket)
    env = {**os.environ, "TMUX_TMPDIR": str(tmp_path)}
    old = ["tmux", "-L", name, "-f", root.layout.tmux_config]
    subprocess.run([*old, "new-session", "-d", "-s", SESSION, "sleep 300"], env=env, check=True)
    assert root.lines("status", "--session", SESSION)[0]["tmux"]
    assert SESSION in root.tmux("list-sessions")
    subprocess.run([*old, "kill-server"], env=env, check=True)
    root.start()
    assert SESSION in root.tmux("list-sessions")


def test_text_is_utf8_in_a_locale_that_says_otherwise(root: RunnerRoot) -> None:
    """`peek` read the screen in the locale's character set."""
    options = root.layout.runner_argv("")[1:]
    options = options[: options.index(root.layout.runner(""))]
    show = "import sys; print(sys.flags.utf8_mode, ascii(sys.stdin.read()))"
    done = subprocess.run(
        [root.python, *options, "-c", show],
        input="ü→".encode(),
        env={**os.environ, "LC_ALL": "C.UTF-8"},  # where Python does not choose the mode by itself
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"1 '\\xfc\\u2192'\n"
