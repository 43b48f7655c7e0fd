"""`record`: what a session's pane shows, as an asciicast, with a marker for each task.

Format: https://docs.asciinema.org/manual/asciicast/v2/. tmux's `pipe-pane` feeds the pane's output to stdin.
A job that is resumed goes on in the same file. Secrets are taken out before anything is written.
"""

from __future__ import annotations

import argparse
import codecs
import json
import os
import selectors
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterable, Optional, Tuple

from jobs.remote.offload_runner import protocol
from jobs.remote.offload_runner.commands import secrets
from jobs.remote.offload_runner.engine.journal import Journal
from jobs.remote.offload_runner.engine.redact import Redactor, forms
from jobs.remote.offload_runner.files.paths import JobPaths, existing_job
from jobs.remote.offload_runner.screen.tmux import Tmux, from_options

LIMIT = 64 * 1024 * 1024
FULL = "recording full"
DEFAULT_SIZE = (200, 50)
_WAKE_SECONDS = 0.5
_HOLD_SECONDS = 1.0
_SIZE_SECONDS = 1.0
_READ = 65536


def main(options: argparse.Namespace) -> int:
    """Record stdin until its end."""
    paths = existing_job(options.root, options.session)
    values = secrets.take(paths, secrets.RECORD)
    with Recording(paths.recording) as recording:
        Recorder(recording, paths, from_options(options), values.values()).run(sys.stdin.fileno())
    return protocol.EXIT_OK


class Recording:
    """An asciicast file that is appended to."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self.path = path
        self.limit = limit
        self.full = False
        self._last = 0.0

    def __enter__(self) -> "Recording":
        # Not through a link: the directory is a job's, and the recorder runs on the host.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        self._file = os.fdopen(os.open(str(self.path), flags, 0o600), "a", encoding="utf-8")
        os.fchmod(self._file.fileno(), 0o600)
        self.size = self._file.tell()
        self.full = self._said_full()
        self._started = self._begun()
        return self

    def __exit__(self, *args: Any) -> None:
        self._file.close()

    def _said_full(self) -> bool:
        """Tell whether an earlier recorder already ended this recording at its limit."""
        with open(str(self.path), "rb") as file:
            file.seek(max(0, self.size - 1024))
            return json.dumps(FULL).encode() in file.read()

    def _begun(self) -> Optional[float]:
        """Return when the recording began, if it has."""
        try:
            with open(str(self.path), encoding="utf-8") as file:
                return float(json.loads(file.readline())["timestamp"])
        except (ValueError, KeyError, TypeError):
            return None

    @property
    def begun(self) -> bool:
        """Tell whether there is a header."""
        return self._started is not None

    def begin(self, size: Tuple[int, int], title: str) -> None:
        """Write the header."""
        self._started = float(int(time.time()))
        header: Dict[str, Any] = {"version": 2, "width": size[0], "height": size[1]}
        header.update(timestamp=int(self._started), title=title, env={"TERM": "tmux-256color"})
        self._write(header)

    def add(self, code: str, data: str, at: Optional[float] = None) -> None:
        """Write one event: `o` output, `m` marker, `r` size. `at`: seconds since the epoch, default now."""
        if self.full or self._started is None:
            return
        # The clock may be set back; a player needs times that never fall.
        self._last = max(self._last, (at or time.time()) - self._started, 0.0)
        if self.size + len(data) >= self.limit:
            self.full = True
            notice = "\r\n[offload: the recording ends here, at %d MiB; the job goes on]\r\n" % (
                self.limit >> 20
            )
            self._write([round(self._last, 3), "m", FULL])
            self._write([round(self._last, 3), "o", notice])
            return
        self._write([round(self._last, 3), code, data])

    def _write(self, value: Any) -> None:
        line = json.dumps(value, ensure_ascii=False) + "\n"
        self._file.write(line)
        self._file.flush()
        self.size += len(line.encode("utf-8", "replace"))


class Recorder:
    """Joins the pane's output, its size and the journal's tasks into one recording."""

    def __init__(
        self, recording: Recording, paths: JobPaths, tmux: Tmux, secrets: Iterable[str] = ()
    ) -> None:
        self.recording = recording
        self.paths = paths
        self.tmux = tmux
        self.redactor = Redactor(forms(secrets))
        self._size: Optional[Tuple[int, int]] = None
        self._size_asked = 0.0
        self._terminal = ""
        self._marked = self._journal_end() if recording.begun else 0
        self._journal_size = -1
        self._names = _task_names(paths)

    def run(self, stdin: int) -> None:
        """Record until stdin ends or the recording is full."""
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        selector = selectors.DefaultSelector()
        selector.register(stdin, selectors.EVENT_READ)
        heard = time.monotonic()
        self._look_at_size()
        if not self.recording.begun:
            self.recording.begin(self._size or DEFAULT_SIZE, self.paths.session)
        while not self.recording.full:
            ready = selector.select(_WAKE_SECONDS)
            self._mark()
            if ready:
                data = os.read(stdin, _READ)
                if not data:
                    break
                heard = time.monotonic()
                self._look_at_size()
                self._output(self.redactor.feed(decode(data)))
            elif self.redactor.holds and time.monotonic() - heard > _HOLD_SECONDS:
                self._output(self.redactor.flush())
        self._output(self.redactor.flush())
        self._mark()

    def _output(self, text: str) -> None:
        if text:
            self.recording.add("o", text)

    def _look_at_size(self) -> None:
        """Look at the pane's size, at most once a second; a new one goes into the recording."""
        now = time.monotonic()
        if self._size_asked and now - self._size_asked < _SIZE_SECONDS:
            return
        self._size_asked = now
        size = self._find_size()
        if size is None or size == self._size:
            return
        self._size = size
        if self.recording.begun:
            self.recording.add("r", "%dx%d" % size)

    def _find_size(self) -> Optional[Tuple[int, int]]:
        """Return the columns and rows of the pane's terminal, which needs no process; else what tmux says."""
        if not self._terminal:
            self._terminal = self.tmux.pane_terminal(self.paths.session)
        size = _terminal_size(self._terminal)
        if size is None:
            self._terminal = ""
            size = self.tmux.pane_size(self.paths.session)
        return size

    def _journal_end(self) -> int:
        events = Journal(self.paths.journal).read()
        return int(events[-1]["seq"]) if events else 0

    def _mark(self) -> None:
        """Write a marker for each task that began since the last look."""
        try:
            size = os.stat(str(self.paths.journal)).st_size
        except OSError:
            return
        if size == self._journal_size:
            return
        self._journal_size = size
        for event in Journal(self.paths.journal).read():
            if int(event["seq"]) <= self._marked:
                continue
            self._marked = int(event["seq"])
            if event["kind"] == protocol.TASK_STARTED:
                task = str(event["task"])
                self.recording.add("m", self._names.get(task, task))
            elif event["kind"] == protocol.FINISHED:
                self.recording.add("m", "finished: %s" % (event.get("verdict") or event.get("state")))


def _terminal_size(device: str) -> Optional[Tuple[int, int]]:
    # Closed again at once: an open terminal would keep tmux from seeing that the pane's programs ended.
    try:
        terminal = os.open(device, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        columns, rows = os.get_terminal_size(terminal)
    except OSError:
        return None
    finally:
        os.close(terminal)
    return (columns, rows) if columns and rows else None


def _task_names(paths: JobPaths) -> Dict[str, str]:
    try:
        plan = protocol.load_plan(json.loads(paths.plan.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
    return {
        task.id: task.id if task.name == task.id else "%s: %s" % (task.id, task.name) for task in plan.tasks
    }
