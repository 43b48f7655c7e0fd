"""The transport to a machine behind ssh. Knows commands and channels; connections are the pool's."""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Mapping, Sequence

from jobs.errors import CommandFailed, NotFound, TimedOut
from jobs.transport.base import OUTPUT_LIMIT, Completed, Output, Process, Pty, PtyReceiver, Size, Transport
from jobs.transport.command import check_argv, failed
from jobs.transport.endpoint import SshEndpoint
from jobs.transport.ssh_running import Lines, SshProcess, SshPty, end_command
from jobs.transport.ssh_session import RemoteSession, remote_command

FILE_SECONDS = 60.0
SLOWEST = 100 * 1024  # bytes per second that a transfer may take as its time

# $1: path, $2: directory, $3: mode, $4: length. A line that breaks half-way must not leave half a file.
_PUT = r"""
umask 077
mkdir -p -- "$2" || exit
if [ -d "$1" ]; then echo "$1 is a directory" >&2; exit 1; fi
trap 'exit 1' HUP INT TERM
temporary=$(mktemp "$2/.offload-XXXXXX") || exit
trap 'rm -f -- "$temporary"' EXIT
cat >"$temporary" || exit
if [ "$(wc -c <"$temporary")" -ne "$4" ]; then echo "the data did not arrive whole" >&2; exit 1; fi
# On the disk before it has its name: a machine that loses its power keeps the old file or the new one.
sync -- "$temporary" 2>/dev/null || sync
chmod "$3" "$temporary" && mv -f -- "$temporary" "$1"
"""

# $1: path, $2: first byte, counted from 1, $3: length or nothing.
_GET = r"""
if [ ! -e "$1" ]; then exit 44; fi
if [ -d "$1" ]; then echo "is a directory" >&2; exit 1; fi
if [ ! -f "$1" ]; then echo "is not a regular file" >&2; exit 1; fi
exec <"$1" || exit 1
if [ -z "$3" ]; then exec tail -c "+$2"; fi
tail -c "+$2" | head -c "$3"
"""
_MISSING = 44


class SshTransport(Transport):
    """A machine behind ssh."""

    endpoint: SshEndpoint

    def __init__(self, endpoint: SshEndpoint, lines: Lines) -> None:
        self.endpoint = endpoint
        self.lines = lines

    async def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        deadline: float = 30.0,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        limit: int = OUTPUT_LIMIT,
    ) -> Completed:
        """Run a command to its end. See `Transport.run`; the deadline starts once the line is there."""
        output = Output(limit)
        session = RemoteSession(output.take_stdout, output.take_stderr)
        try:
            await self.lines.open(session, remote_command(argv, env))
            async with asyncio.timeout(deadline) as clock:
                output.stop(clock)
                session.write(input)
                session.write_eof()
                await session.closed.wait()
        except TimeoutError as error:
            gone = await end_command(self.lines, session)
            if output.is_full:
                raise output.too_large(f"Running {argv[0]}", str(self.endpoint)) from None
            raise TimedOut(
                f"Running {argv[0]} on {self.endpoint} failed: no end within {deadline:g} s; "
                + ("it was killed." if gone else "the line did not answer either, so it may still run."),
                hint="Look whether the machine is overloaded, or allow more time.",
            ) from error
        except BaseException:
            await end_command(self.lines, session)
            raise
        if session.exit_status is None:
            raise self.lines.lost(session.error)
        done = output.completed(session.exit_status)
        if check and done.exit_status != 0:
            raise failed(argv, done, str(self.endpoint))
        return done

    async def spawn(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Process:
        """Start a command with pipes. See `Transport.spawn`."""
        process = SshProcess(self.lines, self.endpoint)
        try:
            await self.lines.open(process.session, remote_command(argv, env))
        except BaseException:
            await process.aclose()
            raise
        return process

    async def open_pty(
        self,
        argv: Sequence[str],
        receiver: PtyReceiver,
        *,
        size: Size,
        term: str = "xterm-256color",
        env: Mapping[str, str] | None = None,
    ) -> Pty:
        """Start a command on a new pseudo-terminal. See `Transport.open_pty`."""
        pty = SshPty(self.lines, self.endpoint, receiver)
        try:
            await self.lines.open(pty.session, remote_command(argv, env), term=term, size=size)
        except BaseException:
            pty.forget()
            await pty.aclose()
            raise
        return pty

    async def put(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        """Write a whole file atomically. See `Transport.put`."""
        check_argv([path], None)
        argv = ["sh", "-c", _PUT, "sh", _plain(path), _plain(posixpath.dirname(path) or "."),
                f"{mode:o}", str(len(data))]  # fmt: skip
        try:
            await self.run(argv, input=data, deadline=FILE_SECONDS + len(data) / SLOWEST)
        except CommandFailed as error:
            raise _file_error("Writing", path, error, self.endpoint) from error

    async def get(self, path: str, *, offset: int = 0, limit: int | None = None) -> bytes:
        """Read a file or a part of it. See `Transport.get`."""
        check_argv([path], None)
        length = "" if limit is None else str(limit)
        argv = ["sh", "-c", _GET, "sh", _plain(path), str(offset + 1), length]
        deadline = FILE_SECONDS * 10 if limit is None else FILE_SECONDS + limit / SLOWEST
        try:
            bound = OUTPUT_LIMIT if limit is None else limit
            return (await self.run(argv, deadline=deadline, limit=bound)).stdout
        except CommandFailed as error:
            if error.exit_status == _MISSING:
                raise NotFound(f"There is no file {path} on {self.endpoint}.") from error
            raise _file_error("Reading", path, error, self.endpoint) from error

    async def aclose(self) -> None:
        """Do nothing: the connections are the pool's, and shared."""


def _plain(path: str) -> str:
    return f"./{path}" if path.startswith("-") else path


def _file_error(doing: str, path: str, error: CommandFailed, endpoint: SshEndpoint) -> CommandFailed:
    lines = error.stderr.decode(errors="replace").strip().splitlines()
    why = lines[-1].rstrip(".") if lines else f"exit status {error.exit_status}"
    return CommandFailed(
        f"{doing} {path} on {endpoint} failed: {why}.",
        exit_status=error.exit_status,
        stderr=error.stderr,
    )
