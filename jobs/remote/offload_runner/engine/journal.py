"""The journal: numbered events, one JSON line each. The truth about a job.

Any process of the job may append (a lock on the file makes numbers unique); readers take whole lines only.
A line that a crash left unfinished is not an event: the next append cuts it off.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from jobs.remote.offload_runner.files import untrusted
from jobs.remote.offload_runner.wire import now

_BLOCK = 65536
# On a bare worker a job can make its journal as large as it likes.
_LIMIT = 256 * 1024 * 1024
_FINDINGS_BYTES = 1024 * 1024  # a reader takes events up to eight times that size
# A job that made its journal a link must not make the host write elsewhere.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


def parse(data: bytes) -> Tuple[List[Dict[str, Any]], int]:
    """Return the events in `data` and the number of bytes they take; a torn last line is left."""
    end = data.rfind(b"\n") + 1
    events = []
    for line in data[:end].splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and isinstance(event.get("seq"), int):
            events.append(event)
    return events, end


def read_part(path: Path, offset: int, limit: int) -> bytes:
    """Return at most `limit` bytes of a journal; nothing when it is absent, a link or no regular file."""
    try:
        descriptor = untrusted.open_regular(path.parent, path.name)
    except untrusted.UntrustedFile:
        return b""
    with os.fdopen(descriptor, "rb") as file:
        file.seek(offset)
        return file.read(limit)


class Journal:
    """One job's journal. `make_room` is called when the disk is full, before the one retry."""

    def __init__(self, path: Path, make_room: Optional[Callable[[], None]] = None) -> None:
        self.path = path
        self._make_room = make_room

    def read(self) -> List[Dict[str, Any]]:
        """Return every event, oldest first."""
        return parse(read_part(self.path, 0, _LIMIT))[0]

    def append(self, kind: str, **fields: Any) -> Dict[str, Any]:
        """Write one event and return it. Raises `OSError` (disk full) with the journal as it was before."""
        try:
            return self._append(kind, fields)
        except OSError:
            if self._make_room is None:
                raise
            self._make_room()
            return self._append(kind, fields)

    def _append(self, kind: str, fields: Dict[str, Any]) -> Dict[str, Any]:
        descriptor = os.open(str(self.path), _FLAGS, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size, last = self._whole(descriptor)
            event: Dict[str, Any] = {"seq": last + 1, "at": now(), "kind": kind, **fields}
            line = (json.dumps(event, separators=(",", ":")) + "\n").encode()
            try:
                written = os.write(descriptor, line)
                if written < len(line):
                    # A second write tells the reason (the disk is full), or completes the line.
                    os.write(descriptor, line[written:])
            except OSError:
                os.ftruncate(descriptor, size)
                raise
            # What the application has been told must not be gone when the machine loses its power.
            os.fsync(descriptor)
            return event
        finally:
            os.close(descriptor)

    @staticmethod
    def _whole(descriptor: int) -> Tuple[int, int]:
        """Cut a torn last line off; return the size and the last event's number."""
        size = os.fstat(descriptor).st_size
        start, data = size, b""
        while start > 0:
            step = min(_BLOCK, start)
            start -= step
            data = os.pread(descriptor, step, start) + data
            events = parse(data[data.find(b"\n") + 1 :] if start else data)[0]
            if events:
                end = start + data.rfind(b"\n") + 1
                if end < size:
                    os.ftruncate(descriptor, end)
                return end, int(events[-1]["seq"])
        if size:
            os.ftruncate(descriptor, 0)
        return 0, 0


def bounded_findings(findings: Any) -> Any:
    """Return findings that an event can hold, or one that says where they are."""
    if len(json.dumps(findings)) <= _FINDINGS_BYTES:
        return findings
    text = "There are too many findings to list; assessment.md in the job's directory has them."
    return [{"severity": "warning", "task": "", "message": text, "file": None, "line": None}]
