"""The supervisor: starts tasks below reapers and passes on their output, as a runner asks for over stdin."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import selectors
import socket
import struct
import tempfile
import termios
from typing import Any, Callable, Dict, List, Optional, Tuple

from jobs.remote.offload_runner.engine import forked, frames, reaper
from jobs.remote.offload_runner.engine.environment import harmless
from jobs.remote.offload_runner.engine.tunnel import Listener, Stream, pass_to

_READ_BYTES = 65536
# The last output of a task may still be in its pipe; a process that survived may hold the pipe open.
_DRAIN_READS = 64


class Supervisor:
    """Serves one runner. `user` (uid, gid): whom the tasks run as; None: as this process does."""

    def __init__(self, user: Optional[Tuple[int, int]], source: int = 0, sink: int = 1) -> None:
        self._user = user
        self._source = source
        self._sink = sink
        self._reader = frames.Reader()
        self._selector = selectors.DefaultSelector()
        self._tasks: Dict[int, _Task] = {}
        self._inputs: Dict[int, List[bytes]] = {}
        self._listeners: Dict[int, Listener] = {}
        self._streams: Dict[int, Tuple[int, Stream]] = {}  # with the number of its listener
        self._last_stream = 0
        self._is_open = True

    def serve(self) -> None:
        """Work until stdin ends and every task is gone."""
        reaper.protect()
        self._selector.register(self._source, selectors.EVENT_READ, self._receive)
        while self._is_open or self._tasks:
            for key, _ in self._selector.select():
                key.data()

    def send(self, frame: bytes) -> None:
        """Write to the runner; without one, drop it."""
        view = memoryview(frame)
        with contextlib.suppress(BrokenPipeError):
            while view:
                view = view[os.write(self._sink, view) :]

    def _receive(self) -> None:
        data = os.read(self._source, _READ_BYTES)
        if not data:
            self._is_open = False
            self._selector.unregister(self._source)
            for listener in list(self._listeners):
                self._unlisten(listener)
            for task in self._tasks.values():
                task.abandon()
            return
        for number, kind, payload in self._reader.feed(data):
            self._obey(number, kind, payload)

    def _obey(self, number: int, kind: int, payload: bytes) -> None:
        task = self._tasks.get(number)
        if kind == frames.START:
            spec = json.loads(payload)
            self._tasks[number] = _Task(self, number, spec, self._inputs.pop(number, None), self._user)
        elif kind == frames.LISTEN:
            self._listen(number)
        elif kind == frames.UNLISTEN:
            self._unlisten(number)
        elif kind in (frames.DATA, frames.TAKEN, frames.CLOSED):
            if number in self._streams:
                pass_to(self._streams[number][1], kind, payload)
        elif kind == frames.INPUT and task is None:
            self._inputs.setdefault(number, []).append(payload)
        elif task is None:
            return  # it ended meanwhile
        elif kind == frames.INPUT:
            task.type(payload)
        elif kind == frames.END:
            task.process.end(float(json.loads(payload)))
        elif kind == frames.RESIZE:
            task.resize(*json.loads(payload))

    def _listen(self, number: int) -> None:
        try:
            listener = Listener(self._selector, lambda found: self._connect(number, found))
        except OSError:
            self.send(frames.pack_json(number, frames.LISTENING, 0))
            return
        self._listeners[number] = listener
        self.send(frames.pack_json(number, frames.LISTENING, listener.port))

    def _connect(self, listener: int, found: socket.socket) -> None:
        self._last_stream += 1
        number = self._last_stream
        self.send(frames.pack_json(listener, frames.CONNECTED, number))
        stream = Stream(found, number, self.send, self._selector, self._streams.pop)
        self._streams[number] = listener, stream

    def _unlisten(self, number: int) -> None:
        listener = self._listeners.pop(number, None)
        if listener is not None:
            listener.close()
        for owner, stream in list(self._streams.values()):
            if owner == number:
                stream.close()

    def watch(self, descriptor: int, then: Callable[[], object]) -> None:
        """Call `then` whenever the descriptor is readable."""
        self._selector.register(descriptor, selectors.EVENT_READ, then)

    def watch_writable(self, descriptor: int, then: Callable[[], None]) -> None:
        """Call `then` whenever the descriptor takes data."""
        self._selector.register(descriptor, selectors.EVENT_WRITE, then)

    def unwatch_writable(self, descriptor: int) -> None:
        """Stop that."""
        self._selector.unregister(descriptor)

    def unwatch(self, descriptor: int) -> None:
        """Stop that, and close the descriptor."""
        self._selector.unregister(descriptor)
        os.close(descriptor)

    def end_orphans(self) -> None:
        """End what a killed reaper had below itself: this process has adopted it."""
        reaper.kill_orphans({task.process.pid for task in self._tasks.values()})

    def forget(self, number: int) -> None:
        """Drop a task that is over."""
        del self._tasks[number]


class _Task:
    def __init__(
        self,
        owner: Supervisor,
        number: int,
        spec: Dict[str, Any],
        given: Optional[List[bytes]],
        user: Optional[Tuple[int, int]],
    ) -> None:
        self._owner = owner
        self._number = number
        self._pending = b""
        self._ended = False
        self._master = -1
        self._keys = b""
        size = spec.get("tty")
        if size:
            self._master, stdin = _open_terminal(user)
            self.resize(*size)
            self._output, output = os.dup(self._master), os.dup(stdin)
        else:
            stdin = _file_with(given) if given is not None else os.open(os.devnull, os.O_RDONLY)
            self._output, output = os.pipe()
        os.set_blocking(self._output, False)
        try:
            self.process = reaper.start(
                spec["argv"],
                spec["cwd"],
                {**harmless(os.environ), **spec["env"]},
                stdin=stdin,
                output=output,
                user=user,
                tty=bool(size),
                within=None if size else forked.find(spec["argv"]),
            )
        finally:
            os.close(stdin)
            os.close(output)
        owner.watch(self._output, self._relay)
        owner.watch(self.process.status, self._hear)

    def type(self, data: bytes) -> None:
        """Write keys to the task's terminal."""
        if self._master >= 0:
            if not self._keys:
                self._owner.watch_writable(self._master, self._write_keys)
            self._keys += data

    def _write_keys(self) -> None:
        try:
            self._keys = self._keys[os.write(self._master, self._keys) :]
        except BlockingIOError:
            return
        except OSError:
            self._keys = b""
        if not self._keys:
            self._owner.unwatch_writable(self._master)

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the task's terminal."""
        if self._master >= 0:
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def abandon(self) -> None:
        """Let the reaper know that the runner is gone."""
        if self.process.command >= 0:
            os.close(self.process.command)
            self.process.command = -1

    def _relay(self) -> bool:
        """Pass output on; return whether there may be more."""
        if self._output < 0:
            return False
        try:
            data = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""  # a terminal whose last process ended
        if not data:
            self._owner.unwatch(self._output)
            self._output = -1
            return False
        self._owner.send(frames.pack(self._number, frames.OUTPUT, data))
        return True

    def _drain(self) -> None:
        for _ in range(_DRAIN_READS):
            if not self._relay():
                return

    def _hear(self) -> None:
        data = os.read(self.process.status, 4096)
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            self._say(json.loads(line))
        if not data:
            self._conclude()

    def _say(self, told: Dict[str, Any]) -> None:
        if "pid" in told:
            self._send(frames.STARTED, told)
        elif "errno" in told:
            self._ended = True
            self._send(frames.FAILED, told)
        elif "left" in told:
            self._drain()  # what the task said comes before what is said of it
            self._send(frames.LEFT, told["left"])
        else:
            self._ended = True
            self._drain()
            self._send(frames.EXIT, told)

    def _conclude(self) -> None:
        os.waitpid(self.process.pid, 0)
        self._owner.unwatch(self.process.status)
        self.abandon()
        if not self._ended:
            self._owner.end_orphans()
            self._drain()
            self._send(frames.EXIT, {"code": None, "survivors": []})
        if self._output >= 0:
            self._owner.unwatch(self._output)
            self._output = -1
        if self._master >= 0:
            if self._keys:
                self._owner.unwatch_writable(self._master)
            os.close(self._master)
        self._owner.forget(self._number)

    def _send(self, kind: int, data: Any) -> None:
        self._owner.send(frames.pack_json(self._number, kind, data))


def _open_terminal(user: Optional[Tuple[int, int]]) -> Tuple[int, int]:
    # A terminal belongs to the user that opens it. The real user stays root: no task can signal us.
    before = os.geteuid()
    if user is not None and user[0] != before:
        os.seteuid(user[0])
    try:
        return pty.openpty()
    finally:
        os.seteuid(before)


def _file_with(parts: List[bytes]) -> int:
    with tempfile.TemporaryFile() as file:
        file.write(b"".join(parts))
        file.seek(0)
        return os.dup(file.fileno())
