"""The client over a real transport: what it costs in round trips, and what its errors say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import (
    CommandFailed,
    ConnectionLost,
    JobFailed,
    NotConfigured,
    NotFound,
    ProtocolMismatch,
    Refused,
    UsageError,
    WorkerUnavailable,
)
from jobs.remote.answers import translate
from jobs.remote.client import RunnerClient
from jobs.remote.layout import Layout
from jobs.remote.offload_runner.protocol import Plan, Task
from jobs.transport.base import Completed, Process
from jobs.transport.local import LocalTransport
from tests.support.runner_root import SESSION, RunnerRoot


class CountingTransport(LocalTransport):
    """The local transport; `calls` names each round trip."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    async def run(self, argv: Sequence[str], **options: Any) -> Completed:
        self.calls.append("run")
        return await super().run(argv, **options)

    async def spawn(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Process:
        self.calls.append("spawn")
        return await super().spawn(argv, env=env)

    async def put(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        self.calls.append("put")
        await super().put(path, data, mode=mode)


@pytest.fixture
def transport() -> CountingTransport:
    return CountingTransport()


@pytest.fixture
def client(root: RunnerRoot, transport: CountingTransport) -> RunnerClient:
    return RunnerClient(transport, root.layout)


PLAN = Plan(job={}, tasks=[Task("a", "A", shell="echo hello")])


async def test_the_runner_is_uploaded_once_and_only_when_missing(
    root: RunnerRoot, client: RunnerClient, transport: CountingTransport
) -> None:
    root.runner.unlink()
    await client.hello()
    assert transport.calls == ["run", "put", "run"]
    transport.calls.clear()
    await client.hello()
    assert transport.calls == ["run"]


async def test_a_full_disk_has_no_room_for_the_runner(root: RunnerRoot) -> None:
    class Full(LocalTransport):
        async def put(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
            raise CommandFailed(
                f"Writing {path} failed: No space left on device.",
                exit_status=1,
                stderr=b"No space left on device",
            )

    root.runner.unlink()
    with pytest.raises(WorkerUnavailable, match="disk is full") as caught:
        await RunnerClient(Full(), root.layout).hello()
    assert str(root.path) in caught.value.message
    assert caught.value.hint


async def test_a_stream_uploads_a_missing_runner_too(
    root: RunnerRoot, client: RunnerClient, transport: CountingTransport
) -> None:
    root.runner.unlink()
    assert [line["type"] async for line in client.follow({}, once=True)] == ["synced"]
    assert transport.calls == ["spawn", "put", "spawn"]


@pytest.mark.parametrize("length", [0, 1000, -100])
async def test_a_runner_that_lost_its_end_is_put_there_anew(
    root: RunnerRoot, client: RunnerClient, transport: CountingTransport, length: int
) -> None:
    whole = root.runner.read_bytes()
    root.runner.write_bytes(whole[:length])
    await client.hello()
    assert transport.calls == ["run", "put", "run"]
    assert root.runner.read_bytes() == whole
    transport.calls.clear()
    root.runner.write_bytes(whole[:length])
    assert [line["type"] async for line in client.follow({}, once=True)] == ["synced"]
    assert transport.calls == ["spawn", "put", "spawn"]


async def test_a_runner_that_arrives_while_python_looks_for_it(
    root: RunnerRoot, transport: CountingTransport
) -> None:
    """Of two first calls at once, one finds no zip file, and then a file: Python runs it as a script."""
    script, python = root.path / "script", root.path / "late-python"
    python.write_text(
        f'#!/bin/sh\ntest -e {script} && exec {root.python} "$@"\n'
        f"head -c 1000 {root.runner} > {script}; exec {root.python} {script}\n"
    )
    python.chmod(0o755)
    client = RunnerClient(transport, replace(root.layout, python=str(python)))
    await client.hello()
    assert transport.calls == ["run", "run"]
    script.unlink()
    assert [line["type"] async for line in client.follow({}, once=True)] == ["synced"]


async def test_what_python_finds_on_the_worker_does_not_keep_the_runner_from_starting(
    root: RunnerRoot, client: RunnerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not the json you know')\n")
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('not today')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    root.job([])
    (root.path / "jobs" / SESSION / "plan.json").unlink()
    assert (await client.start(SESSION, PLAN, cwd=str(root.path / "worktrees" / SESSION))).created is True
    async with asyncio.timeout(20):
        async for line in client.follow({}):
            if line["type"] == "event" and line["event"]["kind"] == "finished":
                assert line["event"]["state"] == "succeeded"
                break


async def test_an_empty_log_is_an_answer(
    root: RunnerRoot, client: RunnerClient, transport: CountingTransport
) -> None:
    root.job([Task("a", "A", shell="true")])
    assert root.run().returncode == 0
    assert await client.log(SESSION, "a") == b""
    assert transport.calls == ["run"]


async def test_a_job_through_the_client(
    root: RunnerRoot, client: RunnerClient, transport: CountingTransport
) -> None:
    root.job([])
    (root.path / "jobs" / SESSION / "plan.json").unlink()
    started = await client.start(SESSION, PLAN, cwd=str(root.path / "worktrees" / SESSION))
    assert started.created is True
    assert started.events[0]["kind"] == "started"
    assert transport.calls == ["run"]
    async with asyncio.timeout(20):
        async for line in client.follow({}):
            if line["type"] == "event" and line["event"]["kind"] == "finished":
                break
    assert await client.start(SESSION, PLAN, since=line["event"]["seq"]) == (False, [])
    assert await client.log(SESSION, "a") == b"hello\n"
    assert await client.log(SESSION, "a", offset=1, limit=2) == b"el"
    assert (await client.status(SESSION))[0]["state"] == "succeeded"
    assert "Every task has ended" in await client.peek(SESSION) or await client.peek(SESSION)
    assert (await client.stop(SESSION))["processes"] == 0
    assert (await client.clean(SESSION, check=True))["checked"] is True
    assert (await client.clean(SESSION))["worktree"] is True
    assert await client.status() == []


async def test_errors_of_the_runner_are_ours(root: RunnerRoot, client: RunnerClient) -> None:
    with pytest.raises(NotFound, match="no job"):
        await client.stop(SESSION)
    with pytest.raises(NotFound, match="no job"):
        await client.log(SESSION, "a")
    with pytest.raises(UsageError):
        await client.clean("../../etc")
    root.job([Task("a", "A", shell="sleep 300")])
    await client.start(SESSION, PLAN)
    with pytest.raises(Refused, match="at work"):
        await client.clean(SESSION)
    with pytest.raises(NotFound, match="no base"):
        await client.diff(SESSION)


async def test_a_missing_python_and_a_missing_tmux_are_named(root: RunnerRoot) -> None:
    nothing = Layout(str(root.path), python="no-such-python")
    with pytest.raises(NotConfigured, match="no-such-python"):
        await RunnerClient(LocalTransport(), nothing).hello()
    with pytest.raises(NotConfigured, match="no-such-python"):
        [line async for line in RunnerClient(LocalTransport(), nothing).follow({}, once=True)]
    root.job([])
    no_tmux = Layout(str(root.path), python=root.python, tmux="no-such-tmux")
    with pytest.raises(NotConfigured, match="no-such-tmux"):
        await RunnerClient(LocalTransport(), no_tmux).start(SESSION, PLAN)


async def test_something_else_that_answers_is_not_taken_for_a_runner(
    root: RunnerRoot, client: RunnerClient
) -> None:
    root.runner.write_text("print('Welcome to the machine!')")
    with pytest.raises(ProtocolMismatch, match="Welcome"):
        await client.hello()
    root.runner.write_text('print(\'{"magic": "offload-runner", "protocol": 99}\')')
    with pytest.raises(ProtocolMismatch, match="99"):
        await client.hello()
    with pytest.raises(ProtocolMismatch, match="99"):
        [line async for line in client.follow({}, once=True)]
    root.runner.write_text("raise SystemExit(3)")
    with pytest.raises(JobFailed, match="exit status 3"):
        await client.hello()


async def test_a_stream_that_ends_is_a_lost_line(root: RunnerRoot, client: RunnerClient) -> None:
    root.runner.write_text('print(\'{"magic": "offload-runner", "protocol": 1}\')')
    with pytest.raises(ConnectionLost):
        [line async for line in client.follow({})]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("unpushed", Refused),
        ("ref_not_found", NotFound),
        ("usage", UsageError),
        ("git_missing", NotConfigured),
        ("whatever", JobFailed),
    ],
)
def test_codes_become_errors(code: str, kind: type[Exception]) -> None:
    error = translate({"type": "error", "code": code, "message": "It failed.", "hint": "Try again."})
    assert type(error) is kind
    assert str(error) == "It failed. Try again."
