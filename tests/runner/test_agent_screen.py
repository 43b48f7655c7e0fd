"""An agent on its own screen: real tmux, the real runner, and a program that reports as `generic` may."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.remote.offload_runner.engine import activity, agent_hooks
from jobs.remote.offload_runner.protocol import Task
from tests.support import screen_agent
from tests.support.runner_root import SESSION, RunnerRoot, wait_for

KEYS = {"approve": "y\r", "deny": "n\r", "clear": "", "denied": "unknown"}


def screen_task(*argv: str, **more: Any) -> Task:
    words = list(argv or (sys.executable, screen_agent.__file__))
    call: dict[str, Any] = {
        "name": "generic",
        "argv": words,
        "resume": [],
        "env": {},
        "oldest": None,
        "profile": None,
    }
    call |= {"cwd": "{worktree}", "hooks": "generic", "keys": KEYS, **more}
    return Task(
        "agent", "agent", "agent", [words[0]], terminal=True, agent="generic", evidence=False,
        outputs={"agent": call},
    )  # fmt: skip


class Screen:
    """One job whose agent has the pane."""

    def __init__(self, root: RunnerRoot, **keys: str) -> None:
        self.root = root
        root.job([screen_task(keys={**KEYS, **keys})], job={"target": "#1", "action": "open"})
        (root.path / "jobs" / SESSION / "prepared.json").write_text('{"sha": "abc"}')
        root.start()

    @property
    def states(self) -> list[tuple[str, str]]:
        return [(event["state"], event["detail"]) for event in self.root.kinds("agent_state")]

    def shows(self, text: str) -> None:
        seen = ""

        def is_there() -> bool:
            nonlocal seen
            seen = self.root.tmux("capture-pane", "-p", "-J", "-t", f"={SESSION}:")
            return text in seen

        try:
            wait_for(is_there)
        except AssertionError:
            raise AssertionError(f"{text!r} is not in {seen}") from None

    def waits(self, state: str, detail: str = "") -> None:
        wait_for(lambda: self.states[-1:] == [(state, detail)])

    def answer(self, answer: str, text: str = "", **more: str) -> tuple[int, dict[str, Any]]:
        spec = {"answer": answer, "text": text, "actor": "kim", **more}
        done = self.root.call("answer", "--session", SESSION, spec=spec)
        return done.returncode, json.loads(done.stdout.splitlines()[-1])

    def refuses(self, why: str, answer: str, text: str = "", **more: str) -> None:
        code, said = self.answer(answer, text, **more)
        assert (code, said["code"]) == (77, "not_waiting"), said
        assert why in said["message"], said

    def types(self, answer: str, text: str = "", **more: str) -> None:
        code, said = self.answer(answer, text, **more)
        assert code == 0, said


@pytest.fixture
def screen(root: RunnerRoot) -> Screen:
    return Screen(root)


def test_an_agent_has_the_pane_and_answers_reach_it_when_it_waits(screen: Screen, root: RunnerRoot) -> None:
    screen.waits("input")
    screen.shows(f"at {root.path}/worktrees/{SESSION} with no key, a person")
    screen.shows("size os.terminal_size(columns=200, lines=50)")
    # Text is typed as it is: tmux and the shell see no format, key name or substitution in it.
    text = "C-c Enter #{pane_id} $(id) `id`\n  -t =x; é 日本\ttab"
    screen.types("send", text)
    screen.shows(f"got {text!r}"[:60])
    # It thought meanwhile, shorter perhaps than the runner looks: the next text goes in once it waits again.
    wait_for(lambda: screen.answer("send", "ask rm -rf build")[0] == 0)
    screen.waits("approval", "rm -rf build")
    # It prints nothing, and no terminal is attached; for the machine's watchdog it is at work, however long.
    assert [reason["kind"] for reason in activity.running_jobs(root.path)] == ["job"]
    screen.refuses("it waits for approval (rm -rf build)", "send", "hello")
    screen.refuses("asks for something else now", "approve", about="ls")
    screen.types("approve", about="rm -rf build")
    screen.shows("said yes")
    screen.waits("input")
    screen.refuses("asks for no approval: it waits for input", "approve")
    screen.refuses("asks for no approval", "deny")
    screen.types("send", "ask again")
    screen.waits("approval", "again")
    screen.types("deny")
    screen.shows("said no")
    typed = [(event["answer"], event["actor"], event["state"]) for event in root.kinds("agent_answer")]
    assert typed == [
        ("send", "kim", "input"),
        ("send", "kim", "input"),
        ("approve", "kim", "approval"),
        ("send", "kim", "input"),
        ("deny", "kim", "approval"),
    ]
    assert root.kinds("agent_answer")[0]["text"] == text
    root.tmux("resize-window", "-t", f"={SESSION}:", "-x", "90", "-y", "30")
    screen.waits("input")
    screen.types("send", "size")
    screen.shows("size os.terminal_size(columns=90, lines=30)")
    screen.waits("input")
    screen.types("send", "stop 0")
    wait_for(lambda: root.kinds("finished"))
    assert root.kinds("finished")[0]["state"] == "succeeded"
    screen.shows("q shell")
    screen.refuses("Nothing runs for", "send", "hello")


def test_what_an_agent_at_work_does_not_ask_for_is_not_typed(screen: Screen, root: RunnerRoot) -> None:
    screen.waits("input")
    for bad in ("\x1b", "a\x03b", "\x00", "a\rb", "\x9b", "x" * 70_000):
        screen.refuses("control characters or is too long", "send", bad)
    screen.refuses("There is no text", "send", " \n")
    # What a person begins to type in the pane is theirs.
    root.tmux("send-keys", "-l", "-t", f"={SESSION}:", "half a li")
    wait_for(lambda: screen.answer("send", "x")[1].get("message", "").startswith("A line was begun"))
    root.tmux("send-keys", "-t", f"={SESSION}:", "Enter")
    screen.shows("got 'half a li")
    screen.waits("input")
    screen.types("send", "ask one")
    screen.waits("approval", "one")
    # A question may have been answered in the pane; a window that gets the focus answers nothing.
    pane = root.tmux("list-panes", "-t", f"={SESSION}", "-F", "#{pane_tty}").strip()
    assert pane.startswith("/dev/")
    root.tmux("send-keys", "-H", "-t", f"={SESSION}:", "1b", "5b", "49")
    screen.types("deny")
    screen.waits("input")
    screen.types("send", "ask two")
    screen.waits("approval", "two")
    root.tmux("send-keys", "-l", "-t", f"={SESSION}:", "y")
    wait_for(lambda: ("unknown", "a key was typed in its pane") in screen.states)
    screen.refuses("what it does is unknown", "approve")
    root.tmux("send-keys", "-t", f"={SESSION}:", "Enter")
    screen.waits("input")
    screen.types("send", "work")
    screen.waits("thinking")
    screen.refuses("takes no text now: its state is thinking", "send", "more")
    (root.path / "worktrees" / SESSION / "go").touch()
    screen.waits("input")
    root.tmux("kill-session", "-t", f"={SESSION}")
    wait_for(lambda: not root.left())


def test_two_answers_at_once_are_typed_once(screen: Screen, root: RunnerRoot) -> None:
    screen.waits("input")
    screen.types("send", "ask it")
    screen.waits("approval", "it")
    codes: list[int] = []

    def approve() -> None:
        codes.append(screen.answer("approve")[0])

    threads = [threading.Thread(target=approve) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [0, 77]
    assert [event["answer"] for event in root.kinds("agent_answer")] == ["send", "approve"]


def test_a_key_is_typed_once_its_question_is_drawn_and_its_effect_is_checked(root: RunnerRoot) -> None:
    screen = Screen(root, drawn=r"\b1\. Yes")
    tree = root.path / "worktrees" / SESSION
    screen.waits("input")
    screen.types("send", "late one")
    screen.waits("approval", "one")
    screen.refuses("its question is not on its screen", "approve")
    assert [event["answer"] for event in root.kinds("agent_answer")] == ["send"], "nothing is typed"
    (tree / "draw").touch()
    screen.types("approve")
    screen.shows("said yes")
    screen.waits("input")
    screen.types("send", "deaf two")
    screen.waits("approval", "two")
    code, said = screen.answer("approve")
    assert (code, said["code"]) == (69, "not_confirmed"), said
    screen.waits("approval", "two")
    (tree / "go").touch()
    screen.shows("1. Yes, now")
    screen.types("approve")
    screen.waits("input")
    assert list((root.path / "jobs" / SESSION / "answers").iterdir()) == []


@pytest.mark.parametrize(("argv", "said"), [(("no-such-agent",), "is not installed"), (("false",), "")])
def test_an_agent_that_does_not_come_up_fails_and_says_why(
    root: RunnerRoot, argv: tuple[str, ...], said: str
) -> None:
    root.job([screen_task(*argv)], job={"target": "#1", "action": "open"})
    assert root.run().returncode == 1
    assert root.outcomes() == {"agent": "failed"}
    assert said in root.log("agent")


def hostile_link(folder: Path, secret: Path) -> None:
    (folder / "a.json").symlink_to(secret)


def hostile_fifo(folder: Path, secret: Path) -> None:
    os.mkfifo(folder / "a.json")


def hostile_folder(folder: Path, secret: Path) -> None:
    (folder / "a.json").mkdir()


def hostile_size(folder: Path, secret: Path) -> None:
    with (folder / "a.json").open("wb") as file:
        file.truncate(5 << 30)


def hostile_json(folder: Path, secret: Path) -> None:
    (folder / "a.json").write_text('{"state":' * 200_000)
    (folder / "b.json").write_text('{"state": ["input"], "detail": {}}')
    (folder / "c.json").write_text('["state"]')


def hostile_place(folder: Path, secret: Path) -> None:
    (secret.parent / "reports").mkdir()
    (secret.parent / "reports" / "a.json").write_text('{"state": "input"}')
    folder.rmdir()
    folder.symlink_to(secret.parent / "reports")


@pytest.mark.parametrize(
    "prepare",
    [hostile_link, hostile_fifo, hostile_folder, hostile_size, hostile_json, hostile_place],
    ids=lambda prepare: prepare.__name__,
)
def test_a_report_is_read_as_input_from_untrusted_code(
    tmp_path: Path, prepare: Callable[[Path, Path], None]
) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"state": "input", "detail": "leaked"}')
    home = tmp_path / "home"
    (home / "reports").mkdir(parents=True)
    prepare(home / "reports", secret)
    assert agent_hooks.take_reports(home, "reports", agent_hooks.read_generic) == []
    assert secret.exists()


def test_reports_are_bounded_and_shown_as_plain_text(tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number:03}.json").write_text(json.dumps({"state": "input", "detail": "\x1b[2J" * 500}))
    taken = [agent_hooks.take_reports(tmp_path, "reports", agent_hooks.read_generic) for _ in range(4)]
    assert [len(reports) for reports in taken] == [128, 128, 44, 0]
    assert all(len(one.detail) <= 200 and one.detail.isprintable() for one in taken[0])
    assert all(len(one.evidence) <= 500 and one.evidence.isprintable() for one in taken[0])


def test_reports_that_come_while_they_are_listed_keep_their_order(tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    code = (
        "import os, sys\n"
        "for n in range(3000):\n"
        '    open(f\'{sys.argv[1]}/.x\', \'w\').write(\'{"state": "input", "detail": "%05d"}\' % n)\n'
        "    os.rename(f'{sys.argv[1]}/.x', f'{sys.argv[1]}/{n:05}.json')\n"
    )
    seen: list[str] = []
    with subprocess.Popen([sys.executable, "-c", code, str(folder)]) as writer:
        while writer.poll() is None or any(folder.iterdir()):
            taken = agent_hooks.take_reports(tmp_path, "reports", agent_hooks.read_generic)
            seen += [report.detail for report in taken]
    assert seen == [f"{number:05}" for number in range(3000)]
