"""`screens`: what several sessions show, as a stream. The other side says again and again which it wants.

Each line of stdin is `{"sessions": [names]}` and takes the place of the one before; the end of stdin ends the
stream. Nothing is asked of tmux while no session is wanted.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from jobs.remote.offload_runner import wire
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import job_paths
from jobs.remote.offload_runner.protocol import EXIT_OK, EXIT_USAGE
from jobs.remote.offload_runner.screen.tmux import Screen, Tmux, from_options

LOOK_SECONDS = 1.0
PING_SECONDS = 2.5
MOST_SESSIONS = 100
# Of one picture; what is above is cut off. A pane is as large as the largest window of its viewers.
MOST_LINES = 120
MOST_CHARACTERS = 64 * 1024
_LONGEST_REQUEST = 64 * 1024


class Wanted:
    """The sessions that the other side wants to see, by what it wrote to stdin."""

    def __init__(self, root: Path) -> None:
        self.sessions: List[str] = []
        self.ended = False
        self._root = root
        self._data = b""

    def read(self) -> None:
        """Take what stdin has. Raises `RunnerError` for a request that is none."""
        data = os.read(0, _LONGEST_REQUEST)
        self.ended = not data
        *lines, self._data = (self._data + (data or b"\n")).split(b"\n")
        if len(self._data) > _LONGEST_REQUEST:
            raise RunnerError("usage", "The list of sessions is too long.", "", EXIT_USAGE)
        if lines and lines[-1]:
            self.sessions = _names(self._root, lines[-1])


def _names(root: Path, line: bytes) -> List[str]:
    try:
        names = json.loads(line)["sessions"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("not a list of names")
    except (ValueError, KeyError, TypeError) as error:
        raise RunnerError("usage", "The list of sessions is not valid: %s." % error, "", EXIT_USAGE) from None
    for name in names:
        job_paths(root, name)  # of other sessions of this tmux server nothing is shown
    return names[:MOST_SESSIONS]


def _cut(text: str) -> str:
    """Return the end of a picture, within the limits; without the empty lines below its last text."""
    return "\n".join(text.rstrip("\n").split("\n")[-MOST_LINES:])[-MOST_CHARACTERS:]


class Viewer:
    """Sends what sessions show, when it has changed."""

    def __init__(self, tmux: Tmux) -> None:
        self.tmux = tmux
        self._sent: Dict[str, Optional[Screen]] = {}

    def look(self, sessions: List[str]) -> None:
        """Look at every session once, and send the pictures that are new."""
        found = self.tmux.screens(sessions) if sessions else {}
        for name in sessions:
            screen = found.get(name)
            if name not in self._sent or self._sent[name] != screen:
                wire.emit(_message(name, screen))
        self._sent = {name: found.get(name) for name in sessions}


def _message(name: str, screen: Optional[Screen]) -> Dict[str, Any]:
    if screen is None:
        return {"type": "gone", "session": name}
    size = {"columns": screen.columns, "rows": screen.rows}
    return {"type": "screen", "session": name, "dead": screen.dead, "text": _cut(screen.text), **size}


def _wait(seconds: float) -> Tuple[bool, bool]:
    """Wait for a request; tell whether there is one, and whether the other side hung up."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(1, 0)
    happened = dict(poll.poll(max(0, int(seconds * 1000))))
    return 0 in happened, bool(happened.get(1, 0) & (select.POLLERR | select.POLLNVAL))


def main(options: argparse.Namespace) -> int:
    """Stream until stdin ends or the reader is gone."""
    viewer, wanted = Viewer(from_options(options)), Wanted(options.root)
    next_look = next_ping = time.monotonic()
    while True:
        now = time.monotonic()
        if now >= next_ping:
            next_ping = now + PING_SECONDS
            wire.emit({"type": "ping"})
        if now >= next_look:
            next_look = now + LOOK_SECONDS
            viewer.look(wanted.sessions)
        asked, gone = _wait(min(next_look, next_ping) - time.monotonic())
        if asked:
            wanted.read()
            next_look = time.monotonic()  # a picture that was asked for comes at once
        if gone or wanted.ended:
            return EXIT_OK
