"""`follow` and `status`: what happens to every job here, as a stream or as one look."""

from __future__ import annotations

import argparse
import select
import time
from typing import Any, Dict, Mapping

from jobs.remote.offload_runner import wire
from jobs.remote.offload_runner.engine import capacity
from jobs.remote.offload_runner.engine.observe import Watched
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import all_jobs, existing_job
from jobs.remote.offload_runner.protocol import EXIT_OK
from jobs.remote.offload_runner.screen.tmux import Session, Tmux, from_options

LOOK_SECONDS = 0.2
TMUX_SECONDS = 1.0
PING_SECONDS = 2.5
# A status in which only the heartbeat is new is worth a line this often.
HEARTBEAT_SECONDS = 30.0


class Follower:
    """Watches the jobs under a root. `since` holds the last event number that the other side has."""

    def __init__(self, tmux: Tmux, since: Mapping[str, Any]) -> None:
        self.tmux = tmux
        self.since = since
        self.jobs: Dict[str, Watched] = {}
        self._sent: Dict[str, Dict[str, Any]] = {}
        self._sent_at: Dict[str, float] = {}
        self._sessions: Dict[str, Session] = {}
        self._next_tmux = 0.0

    def look(self) -> None:
        """Look at every job once, and send what is new."""
        self._look_at_jobs()
        clock = time.monotonic()
        events = {name: job.look() for name, job in self.jobs.items()}
        if clock >= self._next_tmux:
            self._next_tmux = clock + TMUX_SECONDS
            self._sessions = self._list_sessions()
        for name, job in self.jobs.items():
            first = int(self.since.get(name, 0))
            for event in events[name]:
                if event["seq"] > first:
                    wire.emit({"type": "event", "session": name, "event": event})
            self._send_status(name, job, clock)

    def _look_at_jobs(self) -> None:
        present = {paths.session: paths for paths in all_jobs(self.tmux.root)}
        for name in [name for name in self.jobs if name not in present]:
            del self.jobs[name]
            self._sent.pop(name, None)
        for name, paths in present.items():
            if name not in self.jobs:
                self.jobs[name] = Watched(paths)

    def _list_sessions(self) -> Dict[str, Session]:
        if not self.jobs:
            return {}
        try:
            return self.tmux.sessions()
        except RunnerError:
            # Without tmux there is no session; the journals are still worth following.
            return {}

    def _send_status(self, name: str, job: Watched, clock: float) -> None:
        status = job.status(self._sessions.get(name))
        before = self._sent.get(name)
        if before is not None:
            same = {**before, "heartbeat": status["heartbeat"]} == status
            fresh = status["heartbeat"] != before["heartbeat"]
            if same and not (fresh and clock - self._sent_at[name] >= HEARTBEAT_SECONDS):
                return
        self._sent[name], self._sent_at[name] = status, clock
        wire.emit(status)


def _reader_is_gone(seconds: float) -> bool:
    """Wait, and tell whether the other side hung up meanwhile."""
    poll = select.poll()
    poll.register(1, 0)
    return any(what & (select.POLLERR | select.POLLNVAL) for _, what in poll.poll(int(seconds * 1000)))


def main(options: argparse.Namespace) -> int:
    """Stream for `follow`, answer once for `status`."""
    if options.command == "status":
        return _status(options)
    spec = wire.read_spec()
    follower = Follower(from_options(options), spec.get("since") or {})
    follower.look()
    wire.emit({"type": "synced", "capacity": capacity.measure(str(options.root))})
    next_ping = time.monotonic() + PING_SECONDS
    while not options.once:
        if _reader_is_gone(LOOK_SECONDS):
            return EXIT_OK
        follower.look()
        if time.monotonic() >= next_ping:
            next_ping = time.monotonic() + PING_SECONDS
            wire.emit({"type": "ping", "capacity": capacity.measure(str(options.root))})
    return EXIT_OK


def _status(options: argparse.Namespace) -> int:
    wanted = [existing_job(options.root, name) for name in options.session] or all_jobs(options.root)
    sessions = from_options(options).sessions() if wanted else {}
    for paths in wanted:
        job = Watched(paths)
        job.look()
        wire.emit(job.status(sessions.get(paths.session)))
    return EXIT_OK
