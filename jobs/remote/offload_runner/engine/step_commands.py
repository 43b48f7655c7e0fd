"""Commands of the repository that a step in the control container has run where they belong.

The step connects to a socket in the job's directory, which no job's code can reach, and speaks the
supervisor's frames over it; the runner passes them on.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
from typing import Callable, Dict, List, Optional

from jobs.remote.offload_runner.engine import frames
from jobs.remote.offload_runner.engine.link import Link, Sink
from jobs.remote.offload_runner.files.paths import JobPaths, give_away

_GRACE_SECONDS = 2.0
_READ_BYTES = 256 * 1024


class StepCommands:
    """Listens for steps for as long as the runner works."""

    def __init__(
        self, paths: JobPaths, link: Callable[[str], Link], selector: selectors.BaseSelector
    ) -> None:
        self._paths = paths
        self._link = link
        self._selector = selector
        self._connections: Dict[int, _Connection] = {}
        with contextlib.suppress(FileNotFoundError):
            paths.step_socket.unlink()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(short_name(paths))
        give_away(paths.step_socket)
        self._listener.listen(16)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Stop listening and drop every connection."""
        for connection in list(self._connections.values()):
            connection.close()
        self._selector.unregister(self._listener)
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            self._paths.step_socket.unlink()

    def _accept(self) -> None:
        try:
            found, _ = self._listener.accept()
        except OSError:
            return
        self._connections[found.fileno()] = _Connection(found, self._link, self._selector, self._connections)


class _Connection(Sink):
    """One command."""

    def __init__(
        self,
        found: socket.socket,
        link: Callable[[str], Link],
        selector: selectors.BaseSelector,
        others: "Dict[int, _Connection]",
    ) -> None:
        self._socket = found
        self._socket.settimeout(30)  # for writing; a step that does not read is broken
        self._link_for = link
        self._link: Optional[Link] = None
        self._selector = selector
        self._others = others
        self._reader = frames.Reader()
        self._given: List[bytes] = []
        self._theirs = 0  # the step's number of its command
        self._number = 0  # the runner's
        self._over = False
        selector.register(found, selectors.EVENT_READ, self._receive)

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except OSError:
            data = b""
        if not data:
            if self._link is not None and not self._over:
                self._link.end(self._number, _GRACE_SECONDS)
            self.close()
            return
        for number, kind, payload in self._reader.feed(data):
            if kind == frames.INPUT:
                self._given.append(payload)
            elif kind == frames.START and self._link is None:
                spec = json.loads(payload)
                self._theirs = number
                self._link = self._link_for(spec["place"])
                given = b"".join(self._given) if self._given else None
                self._number = self._link.start(self, spec["argv"], spec["cwd"], spec["env"], given=given)
            elif kind == frames.END and self._link is not None:
                self._link.end(self._number, float(json.loads(payload)))

    def close(self) -> None:
        """Drop the connection. Idempotent."""
        if self._socket.fileno() >= 0:
            self._others.pop(self._socket.fileno(), None)
            self._selector.unregister(self._socket)
            self._socket.close()

    def _send(self, frame: bytes) -> None:
        if self._socket.fileno() >= 0:
            try:
                self._socket.sendall(frame)
            except OSError:
                self.close()

    def on_output(self, data: bytes) -> None:
        """Pass it on."""
        self._send(frames.pack(self._theirs, frames.OUTPUT, data))

    def on_left(self, count: int) -> None:
        """Pass it on."""
        self._send(frames.pack_json(self._theirs, frames.LEFT, count))

    def on_failed(self, number: int, error: str) -> None:
        """Pass it on."""
        self._over = True
        self._send(frames.pack_json(self._theirs, frames.FAILED, {"errno": number, "error": error}))

    def on_exit(self, code: Optional[int], survivors: List[int]) -> None:
        """Pass it on."""
        self._over = True
        self._send(frames.pack_json(self._theirs, frames.EXIT, {"code": code, "survivors": survivors}))

    def on_lost(self) -> None:
        """Hang up."""
        self._over = True
        self.close()


def short_name(paths: JobPaths) -> str:
    """Return an address of the socket that is short enough for one, whatever the root is called."""
    name = str(paths.step_socket)
    if len(os.fsencode(name)) < 100:
        return name
    # The descriptor stays open on purpose: the address is used at once, by this process only.
    folder = os.open(str(paths.job_dir), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return "/proc/self/fd/%d/%s" % (folder, paths.step_socket.name)
