"""What the step of an agent reports of it, as events of the journal."""

from __future__ import annotations

import time
from typing import Callable, Dict, Optional

from jobs.remote.offload_runner.files.paths import JobPaths, read_json
from jobs.remote.offload_runner.protocol import AGENT_STATE, AGENT_STATES

_FIELDS = ("state", "detail", "since", "evidence")
_TEXT = 500
_SECONDS = 1.0
# An agent that calls a thousand tools fills the journal more slowly.
_MANY = 200
_SECONDS_OF_MANY = 10.0


class AgentReports:
    """Journals each new report, at most one a second."""

    def __init__(self, paths: JobPaths, record: Callable[..., object]) -> None:
        """`record(kind, **fields)` writes to the journal."""
        self._path = paths.agent_state
        self._record = record
        self._next = 0.0
        self._count = 0
        self._last: Optional[Dict[str, str]] = None

    def begin(self) -> None:
        """Pass over what an earlier start of the agent reported."""
        self._last = self._read()

    def read(self, task: str, *, is_last: bool = False) -> None:
        """Journal what the agent of a task does now, if that is new. `is_last`: the task has ended."""
        if time.monotonic() < self._next and not is_last:
            return
        new = self._read()
        if new is None or new == self._last:
            return
        self._last = new
        self._count += 1
        self._next = time.monotonic() + (_SECONDS if self._count < _MANY else _SECONDS_OF_MANY)
        self._record(AGENT_STATE, task=task, **new)

    def _read(self) -> Optional[Dict[str, str]]:
        found = read_json(self._path)
        if not isinstance(found, dict) or found.get("state") not in AGENT_STATES:
            return None
        return {name: str(found.get(name) or "")[:_TEXT] for name in _FIELDS}
