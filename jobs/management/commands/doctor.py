"""`manage.py doctor`: is everything there that Offload needs?"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from jobs.cli.command import AsyncCommand
from jobs.cli.offload import VERBS, Request
from jobs.cli.parser import add_gcp_options


class Command(AsyncCommand):
    """Print every setting with its source, and check what is needed."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("worker", nargs="?", help="look at this worker in full, and at nothing else")
        parser.add_argument(
            "--forget-host-key",
            action="store_true",
            help="with a worker: forget the host keys pinned for it first (the machine was made anew)",
        )
        parser.add_argument("--apply", action="store_true", help="mend what can be mended")
        add_gcp_options(parser)
        parser.add_argument("--json", action="store_true", help="data instead of text")

    async def run(self, **options: Any) -> int:
        """Check."""
        return await VERBS["doctor"](Request([options["worker"]] if options["worker"] else [], options))
