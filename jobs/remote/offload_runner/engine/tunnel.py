"""Connections that a supervisor accepts on loopback and passes to its runner over the line between them.

So a task in a container reaches the runner without a network, a mount, or an open port of the host.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
from typing import Callable

from jobs.remote.offload_runner.engine import frames

# How much of a connection is on its way in one direction, so that a flood does not fill the memory.
WINDOW = 256 * 1024
_READ_BYTES = 64 * 1024


class Stream:
    """One end of a connection: moves bytes between a socket and the frames `number`. Nothing here blocks."""

    def __init__(
        self,
        ours: socket.socket,
        number: int,
        send: Callable[[bytes], None],
        selector: selectors.BaseSelector,
        closed: Callable[[int], object],
    ) -> None:
        """Take over the socket. `send` sends a frame; `closed` is called once, with the number."""
        ours.setblocking(False)
        self._socket = ours
        self._number = number
        self._send = send
        self._selector = selector
        self._closed = closed
        self._credit = WINDOW
        self._out = bytearray()
        self._has_ended = False
        self._watched = 0
        self._watch()

    def _watch(self) -> None:
        """Wait for what can be done next."""
        if self._socket.fileno() < 0:
            return
        events = selectors.EVENT_READ if self._credit and not self._has_ended else 0
        events |= selectors.EVENT_WRITE if self._out else 0
        if events == self._watched:
            return
        if not self._watched:
            self._selector.register(self._socket, events, self._ready)
        elif events:
            self._selector.modify(self._socket, events, self._ready)
        else:
            self._selector.unregister(self._socket)
        self._watched = events

    def _ready(self) -> None:
        self._write()
        if self._credit and not self._has_ended and self._socket.fileno() >= 0:
            self._read()
        self._watch()

    def _read(self) -> None:
        try:
            data = self._socket.recv(min(_READ_BYTES, self._credit))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._credit -= len(data)
        self._send(frames.pack(self._number, frames.DATA, data))

    def _write(self) -> None:
        try:
            while self._out and self._socket.fileno() >= 0:
                written = self._socket.send(self._out)
                del self._out[:written]
                self._send(frames.pack_json(self._number, frames.TAKEN, written))
        except BlockingIOError:
            return
        except OSError:
            self.close()
        if self._has_ended and not self._out:
            self.close()

    def take(self, data: bytes) -> None:
        """Take bytes from the other end."""
        if len(self._out) + len(data) > WINDOW:
            self.close()
            return
        self._out += data
        self._write()
        self._watch()

    def allow(self, count: int) -> None:
        """Note that the other end has passed on so many bytes."""
        self._credit += count
        self._watch()

    def end(self) -> None:
        """Note that the other end is closed: close this one when it has passed on all."""
        self._has_ended = True
        self._write()
        self._watch()

    def close(self) -> None:
        """Close the connection, and tell the other end. Idempotent."""
        if self._socket.fileno() < 0:
            return
        if self._watched:
            self._selector.unregister(self._socket)
        self._socket.close()
        if not self._has_ended:
            self._send(frames.pack(self._number, frames.CLOSED))
        self._closed(self._number)


def pass_to(stream: Stream, kind: int, payload: bytes) -> None:
    """Give a connection what a frame says of it."""
    if kind == frames.DATA:
        stream.take(payload)
    elif kind == frames.TAKEN:
        stream.allow(int(json.loads(payload)))
    else:
        stream.end()


class Listener:
    """A port of loopback on the supervisor's side. `accepted` takes each connection."""

    def __init__(self, selector: selectors.BaseSelector, accepted: Callable[[socket.socket], None]) -> None:
        """Listen. Raises `OSError`."""
        self._selector = selector
        self._accepted = accepted
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.bind(("127.0.0.1", 0))
            self._socket.listen(16)
        except OSError:
            self._socket.close()
            raise
        self._socket.setblocking(False)
        selector.register(self._socket, selectors.EVENT_READ, self._accept)
        self.port = int(self._socket.getsockname()[1])

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            self._accepted(self._socket.accept()[0])

    def close(self) -> None:
        """Stop listening."""
        self._selector.unregister(self._socket)
        self._socket.close()
