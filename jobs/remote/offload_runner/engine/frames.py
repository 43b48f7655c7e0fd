"""What a runner and its supervisor say to each other: frames of a task's number, a kind and a payload."""

from __future__ import annotations

import json
import struct
from typing import Any, Iterator, Tuple

# Payload length, number of the task, kind.
_HEAD = struct.Struct("!IIB")
# Larger frames are the sign of another program on the line.
LARGEST = 64 * 1024 * 1024

# From the runner.
START = 1  # JSON: argv, cwd, env, has_input, tty ([rows, columns] or null)
INPUT = 2  # bytes for the task's stdin: all of it before START, or keys for a terminal
END = 3  # JSON: grace (seconds)
RESIZE = 4  # JSON: [rows, columns]
LISTEN = 5  # no payload: accept connections on a port of loopback for the runner, under this number
UNLISTEN = 6  # no payload: close it, and its connections
# From the supervisor.
OUTPUT = 16  # bytes
STARTED = 17  # JSON: pid
FAILED = 18  # JSON: errno, error: the task could not be started
LEFT = 19  # JSON: processes: the first process ended and left so many behind, which are being ended
EXIT = 20  # JSON: code, survivors (pids): nothing of the task runs any more, but for the survivors
LISTENING = 21  # JSON: port (0: it failed)
CONNECTED = 22  # JSON: the number of a new connection
# From both, about a connection.
DATA = 32  # bytes
TAKEN = 33  # JSON: how many bytes of the other end were passed on
CLOSED = 34  # no payload


def pack(task: int, kind: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return _HEAD.pack(len(payload), task, kind) + payload


def pack_json(task: int, kind: int, data: Any) -> bytes:
    """Return one frame whose payload is JSON."""
    return pack(task, kind, json.dumps(data, separators=(",", ":")).encode("ascii"))


class Reader:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Tuple[int, int, bytes]]:
        """Yield task, kind and payload of each frame that is complete. Raises `ValueError` for nonsense."""
        self._data += data
        while len(self._data) >= _HEAD.size:
            length, task, kind = _HEAD.unpack_from(self._data)
            if length > LARGEST:
                raise ValueError("a frame of %d bytes" % length)
            end = _HEAD.size + length
            if len(self._data) < end:
                return
            payload = bytes(self._data[_HEAD.size : end])
            del self._data[:end]
            yield task, kind, payload
