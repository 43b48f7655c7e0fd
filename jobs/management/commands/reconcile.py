"""`manage.py reconcile`: the reconciler. `serve` runs it too."""

from __future__ import annotations

import asyncio
import signal
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from jobs.cli.main import run_safely
from jobs.reconciler import DUTIES, Reconciler


class Command(BaseCommand):
    """Follow every job and carry out requests, until stopped."""

    help = "Follow every job and carry out requests, until stopped. `serve` runs this too."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--tick", type=float, default=1.0, help="seconds between two looks for requests")

    def handle(self, *args: Any, tick: float, traceback: bool = False, **options: Any) -> None:
        """Run the loop until SIGTERM or Ctrl-C, and end the process."""

        async def reconcile() -> int:
            stop = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            await Reconciler(DUTIES, tick=tick).run(stop)
            return 0

        sys.exit(run_safely(reconcile, traceback=traceback))
