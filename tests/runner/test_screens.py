"""What sessions show, as a stream: only what is wanted, only what changed, and only sessions of jobs."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from jobs.remote.client import RunnerClient
from jobs.remote.offload_runner.commands.screens import MOST_CHARACTERS, MOST_LINES
from jobs.remote.offload_runner.screen.tmux import Tmux
from jobs.transport.local import LocalTransport
from tests.support.runner_root import SESSION, RunnerRoot, wait_for

OTHER = f"{SESSION}-2"


def show(root: RunnerRoot, session: str, script: str, rows: int = 24) -> None:
    """Start a session that runs a script; it then waits."""
    Tmux(root.path, "tmux", root.layout.tmux_socket or "").write_config()
    (root.path / "tmux").mkdir(exist_ok=True)
    words = ["-x", "80", "-y", str(rows), "-s", session, "sh", "-c", f"{script}; exec sleep 300"]
    root.tmux("new-session", "-d", *words)


@asynccontextmanager
async def stream(root: RunnerRoot, *sessions: str) -> AsyncIterator[tuple[asyncio.Queue[list[str]], Any]]:
    """Watch sessions by the client; give the queue that changes which, and the messages but pings."""
    wanted: asyncio.Queue[Any] = asyncio.Queue()
    wanted.put_nowait(list(sessions))
    lines = RunnerClient(LocalTransport(), root.layout).screens(wanted)

    async def next_one() -> dict[str, Any]:
        async with asyncio.timeout(15):
            return await _next(lines)

    try:
        yield wanted, next_one
    finally:
        await lines.aclose()


async def _next(lines: Any) -> dict[str, Any]:
    while (line := await anext(lines))["type"] in ("ping", "silent"):
        continue
    return dict(line)


async def test_wanted_sessions_are_sent_at_once_and_then_only_when_they_change(root: RunnerRoot) -> None:
    root.runner.unlink()  # the client uploads it, and the request is not lost by that
    show(root, SESSION, r"printf '\033[31mred\033[0m plain\n'; read line; echo $line")
    show(root, OTHER, "echo other")
    wait_for(lambda: "red" in root.tmux("capture-pane", "-p", "-t", f"={SESSION}:"))
    async with stream(root, SESSION, "offload-demo-9-review") as (wanted, following):
        first, gone = await following(), await following()
        assert (first["columns"], first["rows"], first["dead"]) == (80, 24, False)
        assert first["text"] == "\x1b[31mred\x1b[39m plain"
        assert gone == {"type": "gone", "session": "offload-demo-9-review"}
        root.tmux("send-keys", "-t", f"={SESSION}:", "changed", "Enter")
        while "changed\nchanged" not in (await following())["text"]:
            continue
        wanted.put_nowait([OTHER])
        assert (await following())["session"] == OTHER
        root.tmux("kill-session", "-t", f"={OTHER}")
        assert await following() == {"type": "gone", "session": OTHER}


def test_pictures_are_bounded_and_keep_their_end(root: RunnerRoot) -> None:
    show(root, SESSION, "seq 400; echo the end", rows=300)
    wait_for(lambda: "the end" in root.tmux("capture-pane", "-p", "-t", f"={SESSION}:"))
    child = subprocess.Popen(root.argv("screens"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps({"sessions": [SESSION]}).encode() + b"\n")
    child.stdin.flush()
    with child:
        while (line := json.loads(child.stdout.readline())).get("type") != "screen":
            continue
        child.stdin.close()  # the end of stdin is the end of the stream
        assert child.wait(15) == 0
    lines = line["text"].split("\n")
    assert lines[-1] == "the end"
    assert len(lines) == MOST_LINES
    assert len(line["text"]) <= MOST_CHARACTERS


def test_sessions_that_are_no_jobs_are_refused(root: RunnerRoot) -> None:
    show(root, "private", "echo secret")
    for names in (["private"], ["offload-x:1"], "private", [1]):
        done = root.call("screens", spec={"sessions": names})
        assert done.returncode == 64, names
        assert b"secret" not in done.stdout
