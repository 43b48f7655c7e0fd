"""`manage.py reconcile`: the one loop that moves things."""

from __future__ import annotations

import asyncio
import signal
from argparse import ArgumentParser
from typing import Any

from jobs.cli.command import AsyncCommand
from jobs.reconciler import Reconciler


class Command(AsyncCommand):
    """Follow every job, carry out what was asked for, until stopped. `manage.py serve` runs this too."""

    help = "Follow every job and carry out what was asked for, until stopped. `serve` runs this too."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--tick", type=float, default=1.0, help="seconds between two looks for new wishes"
        )

    async def run(self, **options: Any) -> int:
        """Run the loop until SIGTERM or Ctrl-C."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await Reconciler(tick=options["tick"]).run(stop)
        return 0
