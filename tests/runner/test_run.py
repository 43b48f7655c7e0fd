"""Working through plans: real processes, ended for certain, resumed where they were cut off."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.remote.offload_runner.engine import reaper
from jobs.remote.offload_runner.protocol import Task
from tests.support.runner_root import SESSION, RunnerRoot, is_running, wait_for


def pids(root: RunnerRoot, task: str, count: int) -> list[int]:
    """Return the pids that a task printed, once it printed that many."""
    wait_for(lambda: len(root.log(task).split()) >= count)
    return [int(word) for word in root.log(task).split()[:count]]


def test_a_plan_is_worked_through_and_written_down(root: RunnerRoot) -> None:
    job = root.job(
        [
            Task("install", "Install", shell="echo installed", evidence=False),
            Task(
                "tests",
                "Tests",
                shell="printf 'one\\ntwo\\n\\033[31mthree\\033[0m\\n'; exit 3",
                needs=["install"],
            ),
            Task("after", "After", argv=["true"], needs=["tests"]),
            Task("cleanup", "Cleanup", argv=["true"], needs=["tests"], when="failure"),
            Task("sum", "Sum", argv=["true"], needs=["after", "cleanup"], when="always"),
        ]
    )
    done = root.run()
    assert done.returncode == 0, done.stderr
    assert root.outcomes() == {
        "install": "succeeded", "tests": "failed", "after": "skipped",
        "cleanup": "succeeded", "sum": "succeeded",
    }  # fmt: skip
    assert [event["seq"] for event in root.events()] == list(range(1, len(root.events()) + 1))
    failed = next(event for event in root.kinds("task_finished") if event["task"] == "tests")
    assert (failed["exit_code"], failed["tail"]) == (3, "one\ntwo\nthree")
    assert (job / "tasks" / "tests.exit").read_text() == "3\n"
    assert not (job / "tasks" / "after.exit").exists()
    finished = root.kinds("finished")[0]
    assert (finished["state"], finished["reason"]) == ("succeeded", "finished")
    assert json.loads((job / "status.json").read_text())["state"] == "succeeded"


def test_a_task_behind_a_gate_runs_only_when_an_earlier_one_says_so(root: RunnerRoot) -> None:
    def says(name: str, text: str, *needs: str) -> Task:
        return Task(name, name, shell=f"printf '%s' '{text}' >{{job_dir}}/rounds.json", needs=[*needs])

    def gated(name: str, *needs: str) -> Task:
        return Task(name, name, argv=["true"], needs=[*needs], when="always", gate="rounds")

    root.job(
        [
            gated("early"),
            Task("next", "", argv=["true"], needs=["early"], when="always"),
            says("open", '{"go_on": true}', "next"),
            gated("first", "open"),
            says("close", '{"go_on": 1, "why": "all is well"}', "first"),
            gated("second", "close"),
            gated("third", "second"),
            Task("sum", "", argv=["true"], needs=["third"], when="always"),
        ]
    )  # fmt: skip
    assert root.run().returncode == 0
    ended = {event["task"]: event for event in root.kinds("task_finished")}
    assert ended["early"]["reason"] == "nothing says that it is needed"
    assert {name: event["state"] for name, event in ended.items()} == {
        "early": "skipped", "next": "succeeded", "open": "succeeded", "first": "succeeded",
        "close": "succeeded", "second": "skipped", "third": "skipped", "sum": "succeeded",
    }  # fmt: skip
    assert ended["second"]["reason"] == ended["third"]["reason"] == "all is well"


def test_a_task_that_is_no_evidence_fails_the_job(root: RunnerRoot) -> None:
    root.job([Task("install", "Install", argv=["false"], evidence=False)])
    assert root.run().returncode == 1
    finished = root.kinds("finished")[0]
    assert (finished["state"], finished["reason"], finished["detail"]) == (
        "failed", "task_failed", "Failed: Install.",
    )  # fmt: skip


def test_the_verdict_of_the_plan_ends_in_the_journal(root: RunnerRoot) -> None:
    verdict = {"verdict": "pass", "findings": [{"severity": "note", "message": "fine"}]}
    shell = f"echo '{json.dumps(verdict)}' > {{job_dir}}/verdict.json"
    root.job([Task("sum", "Sum", shell=shell, role="synthesis")])
    root.run()
    finished = root.kinds("finished")[0]
    assert {key: finished[key] for key in verdict} == verdict


def test_more_findings_than_an_event_holds_are_one_finding(root: RunnerRoot) -> None:
    findings = [{"severity": "note", "message": "x" * 200}] * 10_000
    (root.path / "verdict").write_text(json.dumps({"verdict": "fail", "findings": findings}))
    shell = f"cp {root.path}/verdict {{job_dir}}/verdict.json"
    root.job([Task("sum", "Sum", shell=shell, role="synthesis")])
    root.run()
    finished = root.kinds("finished")[0]
    assert (finished["verdict"], len(finished["findings"])) == ("fail", 1)
    assert "assessment.md" in finished["findings"][0]["message"]


def test_a_program_that_is_not_there_is_a_failure_with_words(root: RunnerRoot) -> None:
    root.job(
        [Task("a", "A", argv=["no-such-program"]), Task("b", "B", argv=["true"], cwd="{worktree}/nowhere")]
    )
    root.run()
    a, b = sorted(root.kinds("task_finished"), key=lambda event: event["task"])
    assert (a["state"], a["exit_code"], a["reason"]) == ("failed", 127, "not_found")
    assert "no-such-program" in a["tail"]
    assert b["state"] == "failed"


def test_tasks_get_a_home_of_their_own_and_no_secrets(
    root: RunnerRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_TOKEN", "hunter2")
    monkeypatch.setenv("OFFLOAD_HOME", "/private")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hunter2@proxy:1")
    job = root.job([Task("env", "Env", argv=["env"], env={"MINE": "{cache}/x"})])
    root.run()
    seen = dict(line.split("=", 1) for line in root.log("env").splitlines())
    assert "hunter2" not in root.log("env")
    assert "OFFLOAD_HOME" not in seen
    assert seen["HOME"] == str(root.path / "home" / job.name)
    assert seen["TMPDIR"] == str(root.path / "home" / job.name / ".tmp")
    assert seen["PIP_CACHE_DIR"] == str(root.path / "cache" / "pip")
    assert seen["MINE"] == str(root.path / "cache" / "x")
    assert (seen["CI"], seen["GIT_TERMINAL_PROMPT"], seen["PATH"]) == ("1", "0", os.environ["PATH"])


def test_independent_tasks_run_side_by_side_up_to_the_limit(root: RunnerRoot) -> None:
    # Each of two waits for a file that the other makes; a third waits until one has ended.
    meet = "touch {job_dir}/%s; until [ -e {job_dir}/%s ]; do sleep 0.02; done"
    root.job(
        [
            Task("a", "A", shell=meet % ("a", "b"), timeout=20),
            Task("b", "B", shell=meet % ("b", "a"), timeout=20),
            Task("c", "C", shell="touch {job_dir}/c"),
        ],
        parallel=2,
    )
    root.run()
    assert root.outcomes() == {"a": "succeeded", "b": "succeeded", "c": "succeeded"}
    order = [(event["kind"], event["task"]) for event in root.events() if "task" in event]
    assert order[:2] == [("task_started", "a"), ("task_started", "b")]
    assert order[2][0] == "task_finished"


# Prints its own pid, a child's, a grandchild's in another process group, and a daemon's in another session.
FAMILY = (
    "trap '' TERM; echo $$; sleep 300 & echo $!; timeout 300 sleep 300 & echo $!; "
    "setsid sleep 300 & echo $!; wait"
)


def test_a_timeout_ends_the_whole_family(root: RunnerRoot) -> None:
    root.job([Task("t", "T", shell=FAMILY, timeout=1)])
    runner = root.spawn_run()
    family = pids(root, "t", 4)
    assert runner.wait(30) == 0
    assert [pid for pid in family if is_running(pid)] == []
    event = root.kinds("task_finished")[0]
    assert (event["state"], event["exit_code"], event["reason"]) == ("failed", 124, "timeout")
    assert "its limit of 1 seconds" in root.log("t")
    assert root.left() == set()


def test_what_a_task_leaves_behind_ends_with_it(root: RunnerRoot) -> None:
    noise = "seq 20000 | head -c 60000"  # a pipe full, most of it not read yet when the task ends
    root.job(
        [Task("t", "T", shell=f"setsid sleep 300 & echo $!; sleep 300 & echo $!; {noise}; echo; echo last")]
    )
    assert root.run().returncode == 0
    assert [pid for pid in pids(root, "t", 2) if is_running(pid)] == []
    assert root.outcomes() == {"t": "succeeded"}
    assert re.search(r"\nlast\n\s*\[offload\] Ending 2 processes that the task left behind", root.log("t"))


def test_a_killed_runner_is_resumed_without_doing_things_twice(root: RunnerRoot) -> None:
    count = "echo x >> {job_dir}/count-%s"
    job = root.job(
        [
            Task("a", "A", shell=count % "a"),
            Task("b", "B", shell=f"echo $$; {count % 'b'}; [ -e {{job_dir}}/go ] || sleep 300", needs=["a"]),
            Task("c", "C", shell=count % "c", needs=["b"]),
        ]
    )
    runner = root.spawn_run()
    (sleeper,) = pids(root, "b", 1)
    runner.kill()
    runner.wait()
    (job / "go").touch()
    with (job / "events.jsonl").open("ab") as journal:
        journal.write(b'{"seq": 99, "at": "20')
    assert root.run().returncode == 0
    assert not is_running(sleeper)
    assert {name: (job / f"count-{name}").read_text().count("x") for name in "abc"} == {
        "a": 1,
        "b": 2,
        "c": 1,
    }
    assert [event["resumed"] for event in root.kinds("started")] == [False, True]
    assert [event["seq"] for event in root.events()] == list(range(1, len(root.events()) + 1))
    assert "cut off" in root.log("b")


def test_a_command_in_a_fork_has_its_own_surroundings_and_ends_with_its_reaper() -> None:
    """No mark in /proc finds it: it must not outlive the one that watches it."""
    source, output = os.pipe()
    null = os.open(os.devnull, os.O_RDONLY)

    def within() -> int:
        told = [dict(os.environ), os.getcwd(), sorted(os.listdir("/proc/self/fd"))]
        os.write(1, json.dumps(told).encode())
        time.sleep(60)
        return 0

    reaped = reaper.start(["step"], "/", {"A": "1"}, stdin=null, output=output, within=within)
    try:
        pid = json.loads(os.read(reaped.status, 4096))["pid"]
        # 3: the listing itself
        assert json.loads(os.read(source, 65536)) == [{"A": "1"}, "/", ["0", "1", "2", "3"]]
        assert is_running(pid)
    finally:
        os.kill(reaped.pid, signal.SIGKILL)
        os.waitpid(reaped.pid, 0)
        for descriptor in (source, output, null, reaped.status, reaped.command):
            os.close(descriptor)
    wait_for(lambda: not is_running(pid))


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.1, 0.15, 0.2, 0.3])
def test_killed_at_any_point_the_journal_stays_whole(root: RunnerRoot, delay: float) -> None:
    tasks = [Task(f"t{n}", "T", shell=f"echo x >> {{job_dir}}/count-{n}; sleep 0.05") for n in range(8)]
    job = root.job(tasks, parallel=2)
    runner = root.spawn_run()
    wait_for(lambda: root.events() or delay == 0.0)
    time.sleep(delay)
    runner.kill()
    runner.wait()
    finished_before = {event["task"] for event in root.kinds("task_finished")}
    assert root.run().returncode == 0
    assert set(root.outcomes().values()) == {"succeeded"}
    assert [event["seq"] for event in root.events()] == list(range(1, len(root.events()) + 1))
    for name in finished_before:
        assert (job / f"count-{name[1:]}").read_text().count("x") == 1
    assert len([event for event in root.kinds("task_finished") if event["state"] == "succeeded"]) == 8


def test_an_exit_file_without_its_event_counts_as_finished(root: RunnerRoot) -> None:
    job = root.job([Task("a", "A", shell="echo x >> {job_dir}/count")])
    root.run()
    lines = (job / "events.jsonl").read_bytes().splitlines(keepends=True)
    (job / "events.jsonl").write_bytes(b"".join(lines[:2]))  # killed after the exit file
    assert root.run().returncode == 0
    assert root.outcomes() == {"a": "succeeded"}
    assert (job / "count").read_text() == "x\n"


def test_a_pid_that_was_given_away_is_left_alone(root: RunnerRoot) -> None:
    job = root.job([Task("a", "A", argv=["true"])])
    stranger = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        status = {"tasks": [{"id": "a", "state": "running", "pid": stranger.pid, "identity": "boot:1"}]}
        (job / "status.json").write_text(json.dumps(status))
        assert root.run().returncode == 0
        assert is_running(stranger.pid)
    finally:
        stranger.kill()
        stranger.wait()


def test_a_second_runner_is_refused(root: RunnerRoot) -> None:
    root.job([Task("a", "A", shell="echo up; sleep 300")])
    first = root.spawn_run()
    wait_for(lambda: "up" in root.log("a"))
    second = root.run()
    assert second.returncode == 75
    assert str(first.pid) in second.stderr.decode()
    assert len(root.kinds("started")) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_interrupts_and_the_next_run_goes_on(root: RunnerRoot, number: int) -> None:
    job = root.job([Task("a", "A", shell=f"[ -e {{job_dir}}/go ] && exit 0; {FAMILY}")])
    runner = root.spawn_run()
    family = pids(root, "a", 4)
    runner.send_signal(number)
    assert runner.wait(20) == 1
    assert [pid for pid in family if is_running(pid)] == []
    assert root.outcomes() == {"a": "interrupted"}
    assert root.kinds("finished") == []
    (job / "go").touch()
    assert root.run().returncode == 0
    assert root.outcomes() == {"a": "succeeded"}


def test_twenty_jobs_at_once(root: RunnerRoot) -> None:
    sessions = [f"offload-demo-{number}-review" for number in range(20)]
    for session in sessions:
        root.job(
            [Task("a", "A", shell="echo {job_dir}"), Task("b", "B", argv=["true"], needs=["a"])], session
        )
    runners = [root.spawn_run(session) for session in sessions]
    assert [runner.wait(60) for runner in runners] == [0] * 20
    for session in sessions:
        assert root.outcomes(session) == {"a": "succeeded", "b": "succeeded"}
        assert root.log("a", session).strip().endswith(session)


def test_a_log_has_a_cap_and_says_so(root: RunnerRoot) -> None:
    job = root.job([Task("a", "A", shell="yes abcdefg | head -c 60000000; echo the-end")])
    assert root.run().returncode == 0
    data = (job / "tasks" / "a.log").read_bytes()
    assert len(data) < 51 * 1024 * 1024
    assert data.endswith(b"the-end\n")
    assert b"bytes were left out here" in data[-200_000:]


def test_a_finished_job_is_not_run_again(root: RunnerRoot) -> None:
    root.job([Task("a", "A", argv=["true"])])
    root.run()
    before = root.events()
    assert root.run().returncode == 0
    assert root.events() == before


def test_a_retry_runs_what_failed(root: RunnerRoot) -> None:
    job = root.job([Task("a", "A", argv=["test", "-e", "{job_dir}/go"], evidence=False)])
    assert root.run().returncode == 1
    (job / "go").touch()
    assert root.run(SESSION, "--retry").returncode == 0
    assert [event["state"] for event in root.kinds("finished")] == ["failed", "succeeded"]


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounting a small disk needs root")
def test_a_full_disk_fails_the_job_and_says_so(root: RunnerRoot) -> None:
    job = root.job(
        [
            Task("fill", "Fill", shell="yes | head -c 20000000"),
            Task("next", "Next", argv=["true"], needs=["fill"]),
        ]
    )
    plan = (job / "plan.json").read_text()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(job)], check=True)
    try:
        (job / "plan.json").write_text(plan)
        assert root.run().returncode == 1
        finished = root.kinds("finished")[0]
        assert finished["state"] == "failed"
        assert "disk" in finished["detail"]
        event = root.kinds("task_finished")[0]
        assert (event["state"], event["reason"]) == ("failed", "no_space")
    finally:
        subprocess.run(["umount", str(job)], check=True)


def test_a_broken_plan_is_refused(root: RunnerRoot) -> None:
    job = root.job([])
    (job / "plan.json").write_text("{}")
    done = root.run()
    assert done.returncode == 65
    assert b"schema" in done.stderr
    assert Path(job / "events.jsonl").exists() is False


def test_jobs_side_by_side_get_ports_of_their_own(root: RunnerRoot) -> None:
    script = (
        "import os,socket; port, other = os.environ['PORT'], os.environ['DEBUG_PORT'];"
        "socket.create_server(('127.0.0.1', int(port))); print(port, other)"
    )
    sessions = [f"{SESSION}-{number}" for number in range(3)]
    for session in sessions:
        root.job([Task("a", "A", argv=["{python}", "-c", script])], session, ports=["PORT", "DEBUG_PORT"])
    running = [root.spawn_run(session) for session in sessions]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    given = [port for session in sessions for port in root.log("a", session).split()]
    assert len(given) == len(set(given)) == 6
    assert root.run(sessions[0], "--retry").returncode == 0
    assert root.log("a", sessions[0]).split()[:2] == given[:2]
