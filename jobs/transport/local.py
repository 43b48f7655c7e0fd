"""The transport to this machine: subprocesses and pseudo-terminals, no network.

Commands see what they would see after a fresh ssh login as the same user: the home directory as working
directory, and none of the variables that belong to this very process (`inherited_environment`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Mapping, Sequence

from jobs.errors import CommandFailed, NotFound, TimedOut
from jobs.transport.base import OUTPUT_LIMIT, Completed, Output, Process, Pty, PtyReceiver, Size, Transport
from jobs.transport.command import check_argv, failed
from jobs.transport.endpoint import LocalEndpoint
from jobs.transport.local_process import ChildProtocol, LocalProcess, home, inherited_environment, start
from jobs.transport.local_pty import LocalPty


class LocalTransport(Transport):
    """This machine. Needs no connection, so `aclose` has nothing to do."""

    endpoint: LocalEndpoint

    def __init__(self, endpoint: LocalEndpoint | None = None) -> None:
        self.endpoint = endpoint or LocalEndpoint()

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
        """Run a command to its end. See `Transport.run`."""
        check_argv(argv, env)
        output = Output(limit)
        protocol = ChildProtocol(output.take_stdout, output.take_stderr)
        try:
            async with asyncio.timeout(deadline) as clock:
                output.stop(clock)
                await start(protocol, argv, env)
                protocol.send(input)
                protocol.send_eof()
                await protocol.finished.wait()
        except TimeoutError as error:
            if output.is_full:
                raise output.too_large(f"Running {argv[0]}", "this machine") from None
            raise TimedOut(
                f"Running {argv[0]} on this machine failed: no end within {deadline:g} s; it was killed.",
                hint="Look whether the machine is overloaded, or allow more time.",
            ) from error
        finally:
            await protocol.end()
        done = output.completed(protocol.status)
        if check and done.exit_status != 0:
            raise failed(argv, done, str(self.endpoint))
        return done

    async def spawn(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Process:
        """Start a command with pipes. See `Transport.spawn`."""
        check_argv(argv, env)
        process = LocalProcess()
        try:
            await start(process.protocol, argv, env)
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
        check_argv(argv, env)
        full = {**inherited_environment(), **(env or {}), "TERM": term}
        return await LocalPty.open(argv, receiver, size=size, env=full, cwd=home())

    async def put(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        """Write a whole file atomically. See `Transport.put`."""
        try:
            await asyncio.to_thread(_write_file, os.path.join(home(), path), data, mode)
        except OSError as error:
            raise _file_error("Writing", path, error) from error

    async def get(self, path: str, *, offset: int = 0, limit: int | None = None) -> bytes:
        """Read a file or a part of it. See `Transport.get`."""
        output = Output(OUTPUT_LIMIT if limit is None else limit)
        try:
            await asyncio.to_thread(_read_file, os.path.join(home(), path), offset, limit, output)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"There is no file {path} on this machine.") from error
        except OSError as error:
            raise _file_error("Reading", path, error) from error
        if output.is_full:
            raise output.too_large(f"Reading {path}", "this machine")
        return output.completed(0).stdout

    async def aclose(self) -> None:
        """Do nothing: there is no line to free."""


def _file_error(doing: str, path: str, error: OSError) -> CommandFailed:
    why = error.strerror or str(error)
    return CommandFailed(f"{doing} {path} on this machine failed: {why}.", exit_status=1, stderr=why.encode())


def _make_private(path: str) -> None:
    if path and not os.path.isdir(path):
        _make_private(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)


def _write_file(path: str, data: bytes, mode: int) -> None:
    directory = os.path.dirname(path)
    _make_private(directory)
    fd, temporary = tempfile.mkstemp(dir=directory, prefix=".offload-")
    try:
        with open(fd, "wb") as file:
            os.fchmod(fd, mode)
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _read_file(path: str, offset: int, limit: int | None, output: Output) -> None:
    # O_NONBLOCK: a FIFO that a job put in a file's place must not hold this thread.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
            raise OSError(code, "Is a directory" if code == errno.EISDIR else "It is not a regular file")
        file.seek(offset)
        output.take_stdout(file.read(output.limit + 1 if limit is None else limit))
