"""A task that has the pane of its job to itself: an agent's own screen."""

from __future__ import annotations

import os
import re
from typing import Callable, Dict, Mapping, Optional, Tuple

from jobs.remote.offload_runner.engine import frames
from jobs.remote.offload_runner.engine.link import Link
from jobs.remote.offload_runner.engine.task import RunningTask
from jobs.remote.offload_runner.files.paths import JobPaths
from jobs.remote.offload_runner.protocol import Task

# What a terminal sends without a person: focus, mouse, answers to questions about itself.
_NO_KEYS = re.compile(
    rb"\x1b\[[IO]|\x1b\[<[0-9;]*[Mm]|\x1b\[M...|\x1b\[[?>=][0-9;:$]*[a-zA-Z]|\x1b\[[0-9;]*[Rtn]"
    rb"|\x1b[\]P_][^\x07\x1b]*(?:\x07|\x1b\\)",
    re.DOTALL,
)
_PASTE_MODE = re.compile(rb"\x1b\[\?(?:[0-9]+;)*2004(?:;[0-9]+)*([hl])")
SESSION_ID = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_LITTLE_BYTES = 4096
_MODE_BYTES = 32  # a change of mode may be cut in two
_CURSOR_KEYS = re.compile(rb"\x1b(?:\[[0-9;]*[A-DFHZ~]|O[A-DFHP-S])")


def terminal_size() -> Tuple[int, int]:
    """Return rows and columns of this process's terminal; of a usual one if it has none."""
    for descriptor in (0, 1):
        try:
            columns, rows = os.get_terminal_size(descriptor)
        except OSError:
            continue
        if columns and rows:
            return rows, columns
    return 24, 80


class ScreenTask(RunningTask):
    """A running task with a terminal. Its output goes to `show`, and not to its log."""

    def __init__(
        self,
        paths: JobPaths,
        task: Task,
        values: Mapping[str, str],
        env: Mapping[str, str],
        link: Link,
        secrets: Mapping[str, str],
    ) -> None:
        self.show: Callable[[bytes], None] = lambda data: None
        self.takes_pastes = False
        self.on_keys: Callable[[bytes], None] = lambda data: None
        self._before = b""
        self._said: Optional[bytes] = b""
        super().__init__(paths, task, values, env, link, secrets, tty=terminal_size())
        self._guarded(lambda: self.log.note("Its screen is the pane of the session; `peek` prints it."))

    def on_output(self, data: bytes) -> None:
        """Show it, and note whether the program takes pastes."""
        seen = self._before + data
        modes = _PASTE_MODE.findall(seen)
        if modes:
            self.takes_pastes = modes[-1] == b"h"
        self._before = seen[-_MODE_BYTES:]
        if self._said is not None:
            self._said = self._said + data if len(self._said) + len(data) <= _LITTLE_BYTES else None
        self.show(data)

    def finish(self, keep_exit: bool) -> None:
        """Write to the log what little it said, which is why it did not come up. Raises `OSError`."""
        if self._said and self.exit_code:
            self.log.write(self._said)
        super().finish(keep_exit)

    def press(self, data: bytes) -> None:
        """Pass on what came from the pane's terminal."""
        self.write(data)
        keys = _NO_KEYS.sub(b"", data)
        if keys:
            self.on_keys(keys)

    def write(self, data: bytes) -> None:
        """Type this."""
        self._link.send(frames.pack(self._number, frames.INPUT, data))

    def resize(self, rows: int, columns: int) -> None:
        """Give its terminal the size of the pane."""
        self._link.send(frames.pack_json(self._number, frames.RESIZE, (rows, columns)))


def is_answer(keys: bytes) -> bool:
    """Tell whether keys can have answered a question: any but those that move a cursor."""
    return bool(_CURSOR_KEYS.sub(b"", keys))


def screen_environment(env: Mapping[str, str], reports: str) -> Dict[str, str]:
    """Return the variables of a task with a terminal: a person is there, whatever `CI` said."""
    found = {name: value for name, value in env.items() if name != "CI"}
    found.update(TERM="tmux-256color", COLORTERM="truecolor", OFFLOAD_REPORTS=reports)
    return found


def session_to_resume(found: object, agent: str, sha: Optional[str]) -> str:
    """Return the agent's own session of an earlier start, by `agent-state.json`; "" without one."""
    if not isinstance(found, dict) or (found.get("agent"), found.get("sha")) != (agent, sha):
        return ""
    session = str(found.get("session") or "")
    return session if SESSION_ID.fullmatch(session) else ""
