"""A task's output: kept in its log up to a cap, its last lines at hand."""

from __future__ import annotations

import os
import re
from collections import deque
from pathlib import Path
from typing import Deque, Iterable

from jobs.remote.offload_runner.engine.redact import BytesRedactor
from jobs.remote.offload_runner.files.paths import give_away

LOG_CAP = 50 * 1024 * 1024
_TAIL_BYTES = 64 * 1024
_TAIL_LINES = 20
_LINE_LIMIT = 400
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC: titles, links
    r"|\x1b[PX^_].*?\x1b\\"
    r"|\x1b[ -/]*[0-~]"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """Return a line as it would look without colours; of a progress bar its last state."""
    text = _ESCAPES.sub("", text).rstrip("\r\n")
    text = text.rsplit("\r", 1)[-1].replace("\t", "    ")
    return _CONTROLS.sub("", text)


class TaskLog:
    """Writes a log. Beyond the cap only the end is kept; what was left out is said in the log.

    `secrets` are values that must not be in it, whichever program prints them.
    """

    def __init__(self, path: Path, cap: int = LOG_CAP, secrets: Iterable[str] = ()) -> None:
        self._redactor = BytesRedactor(secrets)
        self._file = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        give_away(path)  # the steps, which read it for test results, are the container's user
        self._size = os.fstat(self._file).st_size
        self._cap = cap
        self._over: Deque[bytes] = deque()
        self._over_size = 0
        self._left_out = 0
        self._full = False
        self._lines: Deque[str] = deque(maxlen=_TAIL_LINES)
        self._partial = b""
        if self._size:
            self.note("This task was cut off, and runs again from here on.")

    def write(self, data: bytes) -> None:
        """Take output. Raises `OSError` when the disk is full."""
        self._take(self._redactor.feed(data))

    def _take(self, data: bytes) -> None:
        self._remember(data)
        room = self._cap - self._size
        if room > 0:
            self._put(data[:room])
            data = data[room:]
        if data:
            self._over.append(data)
            self._over_size += len(data)
            while self._over_size - len(self._over[0]) >= _TAIL_BYTES:
                dropped = self._over.popleft()
                self._over_size -= len(dropped)
                self._left_out += len(dropped)

    def note(self, text: str) -> None:
        """Write a line of our own, marked as such."""
        self._put(("\n[offload] %s\n" % text).encode())

    def _put(self, data: bytes) -> None:
        if self._full:
            # The little room that was made is for the journal.
            return
        view = memoryview(data)
        try:
            while view:
                written = os.write(self._file, view)
                self._size += written
                view = view[written:]
        except OSError:
            self._full = True
            raise

    def _remember(self, data: bytes) -> None:
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()[-4 * _LINE_LIMIT :]
        for line in lines[-_TAIL_LINES:]:
            text = plain(line.decode(errors="replace"))
            if text.strip():
                self._lines.append(text[:_LINE_LIMIT])

    def last_line(self) -> str:
        """Return the last line that says something, without colours."""
        partial = plain(self._partial.decode(errors="replace")).strip()
        return partial[:_LINE_LIMIT] if partial else (self._lines[-1].strip() if self._lines else "")

    def tail(self) -> str:
        """Return the last lines, without colours."""
        partial = plain(self._partial.decode(errors="replace"))
        return "\n".join([*self._lines, *([partial[:_LINE_LIMIT]] if partial.strip() else [])])

    def close(self) -> None:
        """Write what was held back, and free the file. Raises `OSError` when the disk is full."""
        try:
            self._take(self._redactor.flush())
            if self._left_out:
                self.note(
                    "%d bytes were left out here: a log keeps %d bytes and its end."
                    % (self._left_out, self._cap)
                )
            while self._over:
                self._put(self._over.popleft())
            os.fsync(self._file)  # before the journal says that the task has ended
        finally:
            os.close(self._file)
