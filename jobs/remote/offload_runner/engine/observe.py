"""Looking at one job: is a runner at work, what does its journal say since last time?"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Optional, Tuple

from jobs.remote.offload_runner import protocol
from jobs.remote.offload_runner.engine.journal import parse, read_part
from jobs.remote.offload_runner.engine.run_lock import is_held
from jobs.remote.offload_runner.files.paths import JobPaths, read_json
from jobs.remote.offload_runner.protocol import INTERRUPTED, PENDING, RUNNING
from jobs.remote.offload_runner.screen.tmux import Session

# More than the longest event. One event is one line of `follow`, and its reader bounds lines.
_PART = 8 * 1024 * 1024
_Signature = Optional[Tuple[int, int, int]]


def _signature(path: str) -> _Signature:
    try:
        there = os.stat(path, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (there.st_ino, there.st_size, there.st_mtime_ns)


class Watched:
    """One job, looked at again and again. A look at a job that did not change costs a few stat calls."""

    def __init__(self, paths: JobPaths) -> None:
        self.paths = paths
        self.alive = False
        self.seq = 0
        self._ended = ""
        self._begun = False
        self._offset = 0
        self._inode = 0
        self._journal = str(paths.journal)
        self._status = str(paths.status)
        self._journal_signature: _Signature = None
        self._status_signature: _Signature = None
        self._heartbeat: Optional[str] = None

    def look(self) -> List[Dict[str, Any]]:
        """Return the events since the last look."""
        # The lock first: when it is free, every event of the runner that held it is in the journal. In the
        # other order, an end written in between would look like a death. New events after a free lock may be
        # those of a runner that started in between, so look again until the journal has nothing new.
        events: List[Dict[str, Any]] = []
        while True:
            self.alive = is_held(self.paths.lock)
            fresh = self._read()
            events += fresh
            if self.alive or not fresh:
                break
        self._read_status()
        return events

    def _read(self) -> List[Dict[str, Any]]:
        signature = _signature(self._journal)
        if signature is None or signature == self._journal_signature:
            return []
        self._journal_signature = signature
        inode, size, _ = signature
        if size < self._offset or inode != self._inode:
            # A job of the same name was created since.
            self._inode = inode
            self._offset, self.seq, self._ended, self._begun = 0, 0, "", False
        data = read_part(self.paths.journal, self._offset, _PART)
        events, taken = parse(data)
        if len(data) == _PART:
            self._journal_signature = None  # there may be more
            taken = taken or len(data)  # a line that is no event
        self._offset += taken
        fresh = [event for event in events if event["seq"] > self.seq]
        for event in fresh:
            self.seq = event["seq"]
            if event["kind"] == protocol.STARTED:
                self._ended, self._begun = "", True
            elif event["kind"] == protocol.FINISHED:
                self._ended = str(event.get("state", ""))
        return fresh

    def _read_status(self) -> None:
        signature = _signature(self._status)
        if signature != self._status_signature:
            self._status_signature = signature
            found = read_json(self.paths.status)
            heartbeat = found.get("heartbeat") if isinstance(found, dict) else None
            self._heartbeat = heartbeat if isinstance(heartbeat, str) else None

    def state(self) -> str:
        """Return the job's state as its files tell it."""
        if self._ended:
            return self._ended
        if self.alive:
            return RUNNING
        return INTERRUPTED if self._begun else PENDING

    def status(self, session: Optional[Session]) -> Dict[str, Any]:
        """Return the status line; `session` is what tmux says (None: there is none)."""
        return {
            "type": "status",
            "session": self.paths.session,
            "alive": self.alive,
            "tmux": session is not None,
            "pane_dead": session is not None and session.dead,
            "clients": session.clients if session is not None else 0,
            "seq": self.seq,
            "state": self.state(),
            "heartbeat": self._heartbeat,
        }
