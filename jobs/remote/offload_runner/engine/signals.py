"""Signals as bytes on a pipe, so that one loop hears everything."""

from __future__ import annotations

import os
import signal
from typing import List


class Signals:
    """Takes the signals of a runner; `reader` becomes readable when one came."""

    ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

    def __init__(self) -> None:
        self._heard: List[int] = []
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        # SIGTSTP: a stopped runner would hold its lock and do nothing.
        for number in (*self.ENDING, signal.SIGCHLD, signal.SIGWINCH, signal.SIGTSTP, signal.SIGQUIT):
            signal.signal(number, lambda number, frame: self._heard.append(number))

    def drain(self) -> None:
        """Empty the pipe."""
        try:
            while os.read(self.reader, 512):
                pass
        except BlockingIOError:
            pass

    def take(self) -> List[int]:
        """Return the signals since the last call."""
        taken, self._heard = self._heard, []
        return taken
