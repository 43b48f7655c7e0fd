"""The runner seen from here: its commands as calls over a transport.

A runner is uploaded only when it is missing: the first call goes out as if it were there, and is repeated
once after the upload when it was not.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, NamedTuple

from jobs.errors import (
    CommandFailed,
    ConnectionLost,
    NotFound,
    ProtocolMismatch,
    Refused,
    TimedOut,
    UsageError,
    WorkerUnavailable,
)
from jobs.remote import bundle
from jobs.remote.answers import (
    check_greeting,
    no_python,
    one,
    parse,
    python_is_missing,
    runner_is_missing,
    runner_may_be_damaged,
    silent,
    translate,
)
from jobs.remote.container_commands import Inside, engine_is_away, not_running
from jobs.remote.layout import Layout
from jobs.remote.offload_runner.commands.secrets import READERS
from jobs.remote.offload_runner.protocol import EXIT_NOT_FOUND, EXIT_REFUSED, EXIT_USAGE, Plan
from jobs.transport.base import OUTPUT_LIMIT, Completed, Process, Transport

CALL_DEADLINE = 60.0
# Fetching a large repository for the first time takes its time; progress lines keep coming meanwhile.
PREPARE_DEADLINE = 1800.0
CLEAN_DEADLINE = 300.0
# Read by the container's user too.
PUT_MODE = 0o755
# What the runner on the host hands to git in the control container.
_IN_CONTROL = frozenset({"prepare", "heads", "diff"})
# The runner pings each 2.5 seconds. What is shown must be true within ten, so silence is told first, and
# the line given up (which takes its time on a line that does not answer) later.
_SILENCE_TOLD = 6.0
_SILENCE_LIMIT = 12.0
SILENT = "silent"

_More = Callable[[], AsyncIterator[Mapping[str, Any]]]


class Started(NamedTuple):
    """The answer to `start`: was a runner started, and the journal's events after the last one known."""

    created: bool
    events: list[dict[str, Any]]


class ContainerDown(WorkerUnavailable):
    """The container that the command should run in is not there or does not run."""


class RunnerClient:
    """The commands of the runner on one worker. Safe for concurrent calls within one event loop."""

    def __init__(self, transport: Transport, layout: Layout, inside: Inside | None = None) -> None:
        self.transport = transport
        self.layout = layout
        self.inside = inside

    async def hello(self) -> dict[str, Any]:
        """Return the runner's greeting: `protocol`, `digest`, `python`."""
        return (await self._call(["hello"]))[0]

    async def prepare(
        self, spec: Mapping[str, Any], on_step: Callable[[str], None] = lambda text: None
    ) -> dict[str, Any]:
        """Fetch a commit and lay out its worktree; return the `prepared` answer.

        `on_step` hears what is being done. Raises what the runner said (`NotFound` for a ref or repository
        that is not there), or an error of the line.
        """
        try:
            async with (
                asyncio.timeout(PREPARE_DEADLINE),
                aclosing(self._stream(["prepare"], spec)) as lines,
            ):
                async for line in lines:
                    if line.get("type") == "step":
                        on_step(str(line.get("text", "")))
                    elif line.get("type") == "prepared":
                        return line
        except TimeoutError:
            raise TimedOut(
                f"Preparing the worktree took longer than {PREPARE_DEADLINE:.0f} seconds.",
                hint="Look at the worker's network; the next try goes on with what was fetched.",
            ) from None
        raise ProtocolMismatch("Preparing the worktree ended without an answer.", hint="Try again.")

    async def heads(self, spec: Mapping[str, Any], *, deadline: float = CALL_DEADLINE) -> dict[str, str]:
        """Return the refs of `spec` (`url`, `refs`, `credentials`) that the repository has: name to commit.

        Raises what the runner said of a repository that does not answer, or an error of the line.
        """
        answer = one(await self._call(["heads"], spec, deadline=deadline), "heads")
        return {str(name): str(sha) for name, sha in answer["refs"].items()}

    async def start(
        self,
        session: str,
        plan: Plan,
        *,
        cwd: str = "",
        command: list[str] | None = None,
        env: Mapping[str, str] | None = None,
        since: int = 0,
        runs: Mapping[str, list[str]] | None = None,
    ) -> Started:
        """Start a plan in its tmux session; return once its runner has written to the journal.

        A job keeps the plan it began with. `command` replaces the runner's own command line in the pane;
        `since` is the last event number known; `runs` how the containers of further places are started.
        """
        spec: dict[str, Any] = {
            "session": session,
            "plan": plan.to_json(),
            "cwd": cwd,
            "env": dict(env or {}),
            "since": since,
        }
        if command is not None:
            spec["command"] = command
        if self.inside is not None:
            spec["containers"] = self.inside.option(session, runs)
        answer = one(await self._call(["start"], spec), "started")
        return Started(bool(answer["created"]), answer["events"])

    async def secrets(self, session: str, values: Mapping[str, str]) -> None:
        """Have a job's secrets kept in the worker's memory until its runner and its recorder take them.

        In place of what was kept before; without `values`, what was not taken is deleted.
        """
        spec = {"secrets": dict(values), "for": list(READERS)}
        await self._call(["secrets", "--session", session], spec)

    async def profile(self, name: str, files: Mapping[str, str]) -> None:
        """Make an agent's profile on the worker exactly these files. On the host: jobs only read it."""
        await self._call(["profile"], {"name": name, "files": dict(files)})

    async def status(self, *sessions: str) -> list[dict[str, Any]]:
        """Return how jobs are now: those named, or all."""
        words = [word for session in sessions for word in ("--session", session)]
        return [line for line in await self._call(["status", *words]) if line.get("type") == "status"]

    async def follow(self, since: Mapping[str, int], *, once: bool = False) -> AsyncGenerator[dict[str, Any]]:
        """Yield the lines of `follow`: `event`, `status`, `synced`, `ping`; of every job on the worker.

        One of our own is among them: `silent`, when nothing came for six seconds.

        `since` holds the last event number known of each job. Ends after `synced` with `once`; otherwise
        only with an error: `ConnectionLost` also when nothing came for twelve seconds.
        """
        words = ["follow", "--once"] if once else ["follow"]
        async with aclosing(self._stream(words, {"since": dict(since)}, silence=_SILENCE_LIMIT)) as lines:
            async for line in lines:
                yield line
        if not once:
            raise ConnectionLost("Following the jobs ended: the runner on the worker went away.")

    async def screens(self, wanted: asyncio.Queue[Sequence[str]]) -> AsyncGenerator[dict[str, Any]]:
        """Yield what sessions show whenever it changes: `screen`, `gone`, `ping`; and `silent`, as `follow`.

        `wanted` holds the names of the sessions to show; a later list takes the place of an earlier one.
        Ends with an error only.
        """
        first = {"sessions": list(await wanted.get())}
        async with aclosing(
            self._stream(["screens"], first, silence=_SILENCE_LIMIT, more=lambda: _requests(wanted, first))
        ) as lines:
            async for line in lines:
                yield line
        raise ConnectionLost("Watching the sessions ended: the runner on the worker went away.")

    async def stop(self, session: str, *, grace: float = 5.0) -> dict[str, Any]:
        """End everything that runs for a job; return once that is verified."""
        words = ["stop", "--session", session, "--grace", f"{grace:g}"]
        deadline = CALL_DEADLINE + 3 * grace
        return one(await self._call(words, deadline=deadline), "stopped")

    async def clean(
        self,
        session: str,
        *,
        force: bool = False,
        check: bool = False,
        keep_files: bool = False,
        pushed: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Remove a job from the worker; return the `cleaned` answer (`bundle`: path of rescued work).

        Raises `Refused` while it runs or has work that is nowhere else, unless `force` is set. `check`
        only asks. `pushed`: commits that the forge has. What is gone already counts as removed.
        """
        flags = [
            flag
            for flag, wanted in (("--force", force), ("--check", check), ("--keep-files", keep_files))
            if wanted
        ]
        words = ["clean", "--session", session, *(f"--pushed={sha}" for sha in pushed)]
        return one(await self._call([*words, *flags], deadline=CLEAN_DEADLINE), "cleaned")

    async def log(self, session: str, task: str, *, offset: int = 0, limit: int | None = None) -> bytes:
        """Return a task's log from byte `offset`, at most `limit` bytes."""
        words = ["log", "--session", session, "--task", task, "--offset", str(offset)]
        return await self._bytes([*words, *(["--limit", str(limit)] if limit is not None else [])])

    async def peek(self, session: str, *, lines: int = 200) -> str:
        """Return the text of a session's screen and `lines` lines of history. Raises `NotFound`."""
        return (await self._bytes(["peek", "--session", session, "--lines", str(lines)])).decode(
            errors="replace"
        )

    async def answer(self, session: str, answer: str, text: str, actor: str, *, about: str = "") -> None:
        """Have the runner type to the agent of a job. Raises `Refused` when that does not wait for it."""
        spec = {"answer": answer, "text": text, "actor": actor, "about": about}
        await self._call(["answer", "--session", session], spec)

    async def diff(self, session: str, *, stat: bool = False, limit: int = OUTPUT_LIMIT) -> bytes:
        """Return the first `limit` bytes of the change under review, as `git diff` prints it.

        Raises `NotFound` without a base.
        """
        words = ["diff", "--session", session, "--limit", str(limit), *(["--stat"] if stat else [])]
        return await self._bytes(words, limit=limit)

    async def commits(self, session: str) -> bytes:
        """Return a git bundle of the commits made in a job's worktree: untrusted data. Raises `NotFound`."""
        return await self._bytes(["commits", "--session", session])

    async def get_file(self, session: str, path: str, *, limit: int) -> bytes:
        """Return a regular file of at most `limit` bytes below the worktree; links are not followed.

        Raises `NotFound`, or `Refused`.
        """
        words = ["get-file", "--session", session, "--limit", str(limit), "--", path]
        return await self._bytes(words, limit=limit)

    async def put_file(self, session: str, name: str, data: bytes) -> str:
        """Make a file in the top of the worktree; return its name, with a number if that one was taken."""
        return (await self._bytes(["put-file", "--session", session, "--", name], data)).decode(
            errors="surrogateescape"
        )

    # The line

    def _argv(self, words: list[str], session: str = "") -> list[str]:
        options = ["--tmux", self.layout.tmux]
        if self.layout.tmux_socket:
            options += ["--tmux-socket", self.layout.tmux_socket]
        if self.layout.git != "git":
            options += ["--git", self.layout.git]
        if self.inside is not None:
            if "--session" in words:
                session = words[words.index("--session") + 1]
            options += ["--containers", self.inside.option(session)]
        return self.layout.runner_argv(bundle.current().digest, *options, *words)

    def shell_argv(self, session: str) -> list[str]:
        """Return the command of a pane on the host that runs a shell where the job's tasks run."""
        return self._argv(["shell", "--session", session])

    async def _upload(self) -> None:
        runner = bundle.current()
        try:
            await self.transport.put(self.layout.runner(runner.digest), runner.data, mode=PUT_MODE)
        except CommandFailed as error:
            if b"No space left" not in error.stderr and b"quota exceeded" not in error.stderr:
                raise
            raise WorkerUnavailable(
                f"Putting the runner into {self.layout.root} failed: the worker's disk is full.",
                hint="Remove jobs that are no longer needed, or enlarge the disk.",
            ) from error

    async def _upload_anew(self, status: int, stdout: bytes, stderr: bytes) -> bool:
        """Put the runner there if it was missing, or is damaged; tell whether it may start now."""
        if runner_is_missing(status, stdout, stderr):
            await self._upload()
            return True
        if not runner_may_be_damaged(status, stdout):
            return False
        runner, there = bundle.current(), b""
        with suppress(NotFound):
            there = await self.transport.get(self.layout.runner(runner.digest))
        if there != runner.data:
            await self._upload()
        return True

    async def _run(
        self,
        words: list[str],
        data: bytes,
        deadline: float,
        *,
        greets: bool = True,
        session: str = "",
        limit: int = OUTPUT_LIMIT,
    ) -> Completed:
        argv = self._argv(words, session)
        for attempt in (1, 2):
            done = await self.transport.run(argv, input=data, deadline=deadline, check=False, limit=limit)
            self._check_container(words, done.exit_status, done.stdout, done.stderr)
            answered = done.exit_status == 0 and not greets  # an empty log is an answer
            if answered or attempt == 2:
                break
            if not await self._upload_anew(done.exit_status, done.stdout, done.stderr):
                break
        return done

    def _check_container(self, words: list[str], status: int, stdout: bytes, stderr: bytes) -> None:
        if self.inside is None or words[0] not in _IN_CONTROL or stdout:
            return
        if not_running(status, stderr) or engine_is_away(status, stderr):
            raise ContainerDown(
                f"The container {self.inside.control} does not run: "
                + stderr.decode(errors="replace").strip().splitlines()[-1],
                hint="Launching a job starts it; `manage.py doctor` looks at the worker's engine.",
            )

    async def _call(
        self,
        words: list[str],
        spec: Mapping[str, Any] | None = None,
        *,
        deadline: float = CALL_DEADLINE,
    ) -> list[dict[str, Any]]:
        data = json.dumps(spec).encode() if spec is not None else b""
        # `start` names its session in the request; the pane's command names the containers.
        session = str((spec or {}).get("session", ""))
        done = await self._run(words, data, deadline, session=session)
        if python_is_missing(done.exit_status, done.stdout):
            raise no_python(self.layout, done.stderr)
        lines = [parse(line) for line in done.stdout.splitlines()]
        if not lines:
            raise silent(words, done.exit_status, done.stderr)
        check_greeting(lines[0])
        for line in lines:
            if line.get("type") == "error":
                raise translate(line)
        if done.exit_status != 0:
            raise silent(words, done.exit_status, done.stderr)
        return lines

    async def _bytes(self, words: list[str], data: bytes = b"", limit: int = OUTPUT_LIMIT) -> bytes:
        done = await self._run(words, data, CALL_DEADLINE, greets=False, limit=limit)
        if done.exit_status == 0:
            return done.stdout
        text = done.stderr.decode(errors="replace").strip()
        message, _, hint = text.partition("\n")
        if done.exit_status == EXIT_NOT_FOUND:
            raise NotFound(message, hint=hint)
        if done.exit_status == EXIT_REFUSED:
            raise Refused(message, hint=hint)
        if done.exit_status == EXIT_USAGE:
            raise UsageError(message, hint=hint)
        raise silent(words, done.exit_status, done.stderr)

    async def _stream(
        self,
        words: list[str],
        spec: Mapping[str, Any],
        *,
        silence: float | None = None,
        more: _More | None = None,
    ) -> AsyncGenerator[dict[str, Any]]:
        """Yield a command's lines after the greeting; upload the runner first if it is missing.

        `more`: further lines for its stdin, which stays open for them.
        """
        for attempt in (1, 2):
            async with await self.transport.spawn(self._argv(words)) as process:
                greeted = False
                async with aclosing(_lines(process, spec, silence, more)) as lines:
                    async for line in lines:
                        if line.get("type") == SILENT:
                            yield line
                        elif not greeted:
                            check_greeting(line)
                            greeted = True
                        elif line.get("type") == "error":
                            raise translate(line)
                        else:
                            yield line
                status = await process.wait()
                if greeted and status == 0:
                    return
                if not greeted:
                    self._check_container(words, status, b"", process.stderr_tail)
                    if attempt == 1 and await self._upload_anew(status, b"", process.stderr_tail):
                        continue
                if not greeted and python_is_missing(status, b""):
                    raise no_python(self.layout, process.stderr_tail)
                raise silent(words, status, process.stderr_tail)


async def _lines(
    process: Process,
    spec: Mapping[str, Any],
    silence: float | None,
    more: _More | None,
) -> AsyncGenerator[dict[str, Any]]:
    writing = asyncio.ensure_future(_write(process, spec, more))
    try:
        if more is None:
            await writing
        async with aclosing(_read(process, silence)) as lines:
            async for line in lines:
                yield line
    finally:
        writing.cancel()
        await asyncio.wait({writing})


async def _write(process: Process, spec: Mapping[str, Any], more: _More | None) -> None:
    # A runner that is not there does not read its request either; its exit status tells.
    with suppress(ConnectionLost):
        await process.write(json.dumps(spec).encode() + b"\n")
        if more is not None:
            async for line in more():
                await process.write(json.dumps(line).encode() + b"\n")
        await process.write_eof()


async def _requests(
    wanted: asyncio.Queue[Sequence[str]], last: dict[str, Any]
) -> AsyncGenerator[Mapping[str, Any]]:
    while True:
        # Kept, so that a second attempt begins with the last request.
        last["sessions"] = list(await wanted.get())
        yield last


async def _read(process: Process, silence: float | None) -> AsyncGenerator[dict[str, Any]]:
    lines = aiter(process.lines())
    while True:
        coming = asyncio.ensure_future(_next(lines))
        try:
            if silence is not None and not (await asyncio.wait({coming}, timeout=_SILENCE_TOLD))[0]:
                yield {"type": SILENT}
                if not (await asyncio.wait({coming}, timeout=silence - _SILENCE_TOLD))[0]:
                    raise ConnectionLost(f"Nothing came from the runner for {silence:g} seconds.")
            line = await coming
        finally:
            coming.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await coming
        if line is None:
            return
        yield parse(line)


async def _next(lines: AsyncIterator[bytes]) -> bytes | None:
    return await anext(lines, None)
