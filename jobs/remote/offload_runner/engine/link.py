"""A runner's end of the line to a supervisor: starts tasks there and hears of them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import selectors
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from jobs.remote.offload_runner.engine import frames
from jobs.remote.offload_runner.engine.tunnel import Stream, pass_to
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import JOB

_READ_BYTES = 256 * 1024
_END_SECONDS = 15.0
_STDERR_BYTES = 2000


class Sink:
    """What a task's owner hears. Every method is called from `Link.receive`."""

    def on_output(self, data: bytes) -> None:
        """Take output of the task."""

    def on_left(self, count: int) -> None:
        """Note that the task's first process ended and left `count` processes, which are being ended."""

    def on_failed(self, number: int, error: str) -> None:
        """Note that the task could not be started; `number` is the errno. Nothing more comes."""

    def on_exit(self, code: Optional[int], survivors: List[int]) -> None:
        """Note that nothing of the task runs any more, but for `survivors`. Nothing more comes."""

    def on_lost(self) -> None:
        """Note that the supervisor is gone: how the task ended is unknown. Nothing more comes."""


class Link:
    """A line to a supervisor over two descriptors. Nothing here blocks."""

    def __init__(self, source: int, target: int) -> None:
        self._source = source
        self._target = target
        os.set_blocking(source, False)
        os.set_blocking(target, False)
        self._reader = frames.Reader()
        self._out = bytearray()
        self._sinks: Dict[int, Sink] = {}
        self._last = 0
        self._selector: Optional[selectors.BaseSelector] = None
        self._accepting: Dict[int, Callable[[socket.socket], None]] = {}
        self._ports: Dict[int, int] = {}  # by number of the listener, until they are asked for
        self._streams: Dict[int, Stream] = {}
        self.is_lost = False

    def watch(self, selector: selectors.BaseSelector) -> None:
        """Be driven by this selector, whose data is what to call."""
        self._selector = selector
        if not self.is_lost:
            selector.register(self._source, selectors.EVENT_READ, self.receive)
            self._flush()

    def unwatch(self) -> None:
        """Stop that: the selector is about to be closed."""
        self._selector = None

    def start(
        self,
        sink: Sink,
        argv: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        *,
        given: Optional[bytes] = None,
        tty: Optional[Tuple[int, int]] = None,
        place: str = JOB,
    ) -> int:
        """Start a task; return its number.

        `given` is its whole stdin; `tty` (rows, columns) a terminal; `place` says to a runner where.
        """
        self._last += 1
        number = self._last
        if self.is_lost:
            sink.on_lost()
            return number
        self._sinks[number] = sink
        if given is not None:
            self.send(frames.pack(number, frames.INPUT, given))
        spec = {"argv": list(argv), "cwd": cwd, "env": dict(env), "tty": tty, "place": place}
        self.send(frames.pack_json(number, frames.START, spec))
        return number

    def end(self, number: int, grace: float) -> None:
        """Have a task ended: SIGTERM now, SIGKILL after `grace` seconds. May be called again."""
        self.send(frames.pack_json(number, frames.END, grace))

    def send(self, frame: bytes) -> None:
        """Send a frame, now or when there is room. A lost line drops it."""
        if self.is_lost:
            return
        waiting = bool(self._out)
        self._out += frame
        if not waiting:
            self._flush()

    def _flush(self) -> None:
        had = bool(self._out)
        try:
            while self._out:
                del self._out[: os.write(self._target, bytes(self._out[: 1 << 20]))]
        except BlockingIOError:
            pass
        except OSError:
            self._out.clear()  # the reading side says that the line is lost
        if self._selector is None or not had:
            return
        watched = any(
            key.fd == self._target and key.data == self._flush for key in self._selector.get_map().values()
        )
        if self._out and not watched and self._target != self._source:
            self._selector.register(self._target, selectors.EVENT_WRITE, self._flush)
        elif not self._out and watched:
            self._selector.unregister(self._target)

    def receive(self) -> None:
        """Take what the supervisor said."""
        try:
            data = os.read(self._source, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
            return
        try:
            for number, kind, payload in self._reader.feed(data):
                self._dispatch(number, kind, payload)
        except (ValueError, KeyError, TypeError):
            self._lose()

    def _dispatch(self, number: int, kind: int, payload: bytes) -> None:
        if kind in (frames.DATA, frames.TAKEN, frames.CLOSED):
            if number in self._streams:
                pass_to(self._streams[number], kind, payload)
            return
        if kind in (frames.LISTENING, frames.CONNECTED):
            self._hear_of_listener(number, kind, int(json.loads(payload)))
            return
        sink = self._sinks.get(number)
        if sink is None:
            return
        if kind == frames.OUTPUT:
            sink.on_output(payload)
            return
        told: Any = json.loads(payload)
        if kind == frames.LEFT:
            sink.on_left(int(told))
        elif kind == frames.FAILED:
            del self._sinks[number]
            sink.on_failed(int(told["errno"]), str(told["error"]))
        elif kind == frames.EXIT:
            del self._sinks[number]
            sink.on_exit(told["code"], list(told["survivors"]))

    def _hear_of_listener(self, listener: int, kind: int, told: int) -> None:
        if kind == frames.LISTENING:
            self._ports[listener] = told
            return
        accept = self._accepting.get(listener)
        if accept is None or self._selector is None:
            self.send(frames.pack(told, frames.CLOSED))
            return
        ours, theirs = socket.socketpair()
        self._streams[told] = Stream(ours, told, self.send, self._selector, self._streams.pop)
        accept(theirs)

    def unlisten(self, listener: int) -> None:
        """Stop what `listen` began. The supervisor closes the connections."""
        if self._accepting.pop(listener, None) is not None:
            self.send(frames.pack(listener, frames.UNLISTEN))

    def _lose(self) -> None:
        self.is_lost = True
        for stream in list(self._streams.values()):
            stream.close()
        if self._selector is not None:
            for descriptor in {self._source, self._target}:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(descriptor)
        sinks, self._sinks = self._sinks, {}
        for sink in sinks.values():
            sink.on_lost()


class _Answer(Sink):
    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self.code: Optional[int] = None
        self.is_over = False
        self.is_late = False
        self._limit = limit

    def on_output(self, data: bytes) -> None:
        self.data += data[: self._limit - len(self.data)]

    def on_failed(self, number: int, error: str) -> None:
        self.is_over = True

    def on_exit(self, code: Optional[int], survivors: List[int]) -> None:
        self.code = None if self.is_late else code
        self.is_over = True

    def on_lost(self) -> None:
        self.is_over = True


class SupervisorProcess(Link):
    """A supervisor that is started for this runner, here or in a container, and ends with it."""

    def __init__(self, argv: Sequence[str], lock: Optional[Path] = None) -> None:
        """Start it. It holds a shared lock on the file `lock` until it has ended. Raises `RunnerError`."""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        held = []
        if lock is not None:
            held.append(os.open(str(lock), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            fcntl.flock(held[0], fcntl.LOCK_SH)
        # A session of its own: a hang-up or Ctrl-C in the pane must reach the runner, not the line.
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
                pass_fds=held,
            )
        except OSError as error:
            text = "Starting %s failed: %s." % (argv[0], error.strerror)
            raise RunnerError("no_supervisor", text, "Install it on the worker.") from error
        finally:
            for descriptor in held:
                os.close(descriptor)
        source, target = self._process.stdout, self._process.stdin
        super().__init__(source.fileno() if source else -1, target.fileno() if target else -1)

    @property
    def complaint(self) -> str:
        """Return the last line that the process wrote to stderr."""
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - _STDERR_BYTES))
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""

    def call(
        self,
        argv: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        seconds: float,
        limit: int,
        given: Optional[bytes] = None,
    ) -> Tuple[Optional[int], bytes]:
        """Run a command to its end; return its exit code (None: unknown) and at most `limit` bytes of output.

        `seconds`: how long it may take; `given`: its stdin.
        """
        answer = _Answer(limit)
        number = self.start(answer, argv, cwd, env, given=given)
        deadline = time.monotonic() + seconds
        while not answer.is_over:
            left = deadline - time.monotonic()
            if left <= 0:
                self.end(number, 0.0)
                deadline += _END_SECONDS
                if answer.is_late:
                    break
                answer.is_late = True
            writers = [self._target] if self._out else []
            select.select([self._source], writers, [], max(0.0, left))
            self._flush()
            self.receive()
        return answer.code, bytes(answer.data)

    def listen(self, accept: Callable[[socket.socket], None], seconds: float) -> Tuple[int, int]:
        """Have the supervisor listen on loopback; return the listener's number and its port.

        `accept` takes each connection; `seconds`: how long to wait. Raises `RunnerError`.
        """
        self._last += 1
        number = self._last
        self._accepting[number] = accept
        self.send(frames.pack(number, frames.LISTEN))
        deadline = time.monotonic() + seconds
        while number not in self._ports and not self.is_lost and time.monotonic() < deadline:
            writers = [self._target] if self._out else []
            select.select([self._source], writers, [], max(0.0, deadline - time.monotonic()))
            self._flush()
            self.receive()
        port = self._ports.pop(number, 0)
        if not port:
            self.unlisten(number)
            raise RunnerError(
                "no_listener",
                "The supervisor of the tasks opened no port on loopback: %s."
                % (self.complaint or "no reason"),
                "Start the job again.",
            )
        return number, port

    def hang_up(self) -> None:
        """Have the supervisor end its tasks and itself. Idempotent."""
        self._lose()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def close(self) -> None:
        """Hang up, and wait until the supervisor has ended its tasks and itself. Idempotent."""
        self.hang_up()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()
