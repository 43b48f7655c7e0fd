"""Recordings: real panes of a real tmux, read back as asciicasts."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.remote.offload_runner.commands.record import Recorder, Recording
from jobs.remote.offload_runner.engine.journal import Journal
from jobs.remote.offload_runner.engine.redact import MARK
from jobs.remote.offload_runner.files.paths import JobPaths
from jobs.remote.offload_runner.screen.tmux import Tmux

SESSION = "offload-shop-1-review"


@pytest.fixture
def paths(tmp_path: Path) -> JobPaths:
    job = JobPaths(tmp_path, SESSION)
    job.job_dir.mkdir(parents=True)
    return job


@pytest.fixture
def socket(tmp_path: Path) -> str:
    return f"record-{tmp_path.name}-{tmp_path.parent.name}"[-60:]


@pytest.fixture
def tmux(tmp_path: Path, socket: str) -> Iterator[Tmux]:
    server = Tmux(tmp_path, "tmux", socket)
    server.write_config()
    yield server
    server.call("kill-server")


def events(path: Path) -> tuple[dict[str, Any], list[list[Any]]]:
    header, *rest = [json.loads(line) for line in path.read_text("utf-8").splitlines()] or [{}]
    return header, rest


def output(path: Path) -> str:
    return "".join(data for _, code, data in events(path)[1] if code == "o")


def until(what: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"{what} did not come true"
        time.sleep(0.02)


def recorder_command(root: Path, socket: str) -> str:
    code = "import sys; from jobs.remote.offload_runner.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "--root", str(root), "--tmux-socket", socket]
    return " ".join(f"'{word}'" for word in [*words, "record", "--session", SESSION])


def test_a_pane_is_recorded_from_its_first_byte(
    paths: JobPaths, tmux: Tmux, socket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    pipe = recorder_command(paths.root, socket)
    token = "ghp_" + "Zz09" * 9
    script = f"printf 'first \\033[31mré\\033[0m {token}\\n'; sleep 0.1; printf 'last\\n'"
    tmux.new_session(SESSION, str(Path.cwd()), {"PYTHONPATH": str(Path.cwd())}, ["sh", "-c", script], pipe)
    until(lambda: paths.recording.exists() and "last" in output(paths.recording))
    header, _ = events(paths.recording)
    assert (header["version"], header["width"], header["height"]) == (2, 200, 50)
    text = output(paths.recording)
    assert text.startswith(f"first \x1b[31mré\x1b[0m {MARK}")
    assert token not in paths.recording.read_text("utf-8")
    assert paths.recording.stat().st_mode & 0o777 == 0o600


def record(paths: JobPaths, tmux: Tmux, data: bytes, limit: int = 1 << 20) -> None:
    source = paths.root / "output"
    source.write_bytes(data)
    with subprocess.Popen(["cat", str(source)], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        with Recording(paths.recording, limit) as recording:
            Recorder(recording, paths, tmux).run(cat.stdout.fileno())


def test_a_new_size_is_recorded_without_a_process_for_each_look(
    paths: JobPaths, tmux: Tmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.remote.offload_runner.commands.record._SIZE_SECONDS", 0.0)
    tmux.new_session(SESSION, str(paths.root), {}, ["sleep", "100"])
    calls: list[str] = []
    call = tmux.call

    def counted(*words: str) -> Any:
        calls.append(words[0])
        return call(*words)

    monkeypatch.setattr(tmux, "call", counted)
    with Recording(paths.recording) as recording:
        recorder = Recorder(recording, paths, tmux)

        def last() -> Any:
            recorder._look_at_size()
            return ([data for _, code, data in events(paths.recording)[1] if code == "r"] or [""])[-1]

        last()
        recording.begin((200, 50), SESSION)
        call("resize-window", "-t", f"={SESSION}:", "-x", "90", "-y", "20")
        until(lambda: last() == "90x20")
        assert calls == ["display-message"]


def test_tasks_are_marked(paths: JobPaths, tmux: Tmux) -> None:
    journal = Journal(paths.journal)
    journal.append("started", attempt=1, pid=1, resumed=False)
    journal.append("task_started", task="test")
    journal.append("finished", state="succeeded", verdict="pass")
    record(paths, tmux, b"x")
    marks = [data for _, code, data in events(paths.recording)[1] if code == "m"]
    assert marks == ["test", "finished: pass"]


def test_a_resumed_job_goes_on_in_the_same_recording(paths: JobPaths, tmux: Tmux) -> None:
    record(paths, tmux, b"one ")
    record(paths, tmux, b"two")
    header, rest = events(paths.recording)
    assert header["title"] == SESSION
    assert output(paths.recording) == "one two"
    times = [at for at, _, _ in rest]
    assert times == sorted(times)


def test_the_limit_is_said_and_kept(paths: JobPaths, tmux: Tmux) -> None:
    record(paths, tmux, b"y" * 200_000, limit=50_000)
    assert paths.recording.stat().st_size < 51_000
    assert "the recording ends here" in output(paths.recording)
    before = paths.recording.stat().st_size
    record(paths, tmux, b"more", limit=50_000)
    assert paths.recording.stat().st_size == before


def test_split_characters_are_whole_again(paths: JobPaths, tmux: Tmux) -> None:
    text = "αβγ😀" * 50_000
    record(paths, tmux, text.encode())
    assert output(paths.recording) == text
