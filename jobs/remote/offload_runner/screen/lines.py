"""Show a run without a terminal: one line for each event."""

from __future__ import annotations

import selectors
import sys
from typing import TYPE_CHECKING, Dict

from jobs.remote.offload_runner.protocol import FAILED, INTERRUPTED, PENDING, RUNNING
from jobs.remote.offload_runner.screen.text import SIGNS, duration, outcome_sentence

if TYPE_CHECKING:
    from jobs.remote.offload_runner.engine.execute import Engine
    from jobs.remote.offload_runner.engine.signals import Signals


class Display:
    """What a run needs of its display. This one prints lines."""

    engine: "Engine"

    @property
    def has_child(self) -> bool:
        """Whether a program that the user opened has the terminal now."""
        return False

    def __init__(self) -> None:
        self._shown: Dict[str, str] = {}

    def open(self, engine: "Engine") -> None:
        """Begin to show a run."""
        self.engine = engine

    def watch(self, selector: selectors.BaseSelector) -> None:
        """Listen to what the display listens to, while the run goes on."""

    def changed(self) -> None:
        """Take note that there is something new to draw."""

    def draw(self) -> None:
        """Draw what is new."""
        for name, view in self.engine.views.items():
            if view.state != self._shown.get(name, PENDING):
                self._shown[name] = view.state
                spent = "" if view.seconds is None else " after %s" % duration(view.seconds)
                self._say("%s %s %s%s" % (SIGNS[view.state], view.task.name, view.state, spent))
                if view.state == FAILED and view.tail:
                    self._say("\n".join("    " + line for line in view.tail.splitlines()[-10:]))
            elif view.state not in (RUNNING, INTERRUPTED):
                self._shown.setdefault(name, view.state)

    def stay(self, signals: "Signals") -> int:
        """Show the end; return the exit code of the run."""
        self.draw()
        finished = self.engine.finished
        self._say(outcome_sentence(finished))
        return 1 if finished is None or finished.get("state") != "succeeded" else 0

    def close(self) -> None:
        """Leave the terminal as it was. Idempotent."""

    def _say(self, text: str) -> None:
        try:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        except OSError:
            # The reader has gone; the journal says the same.
            pass
