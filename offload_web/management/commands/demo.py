"""`manage.py demo`: the tour that `make demo` gives."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from jobs.errors import OffloadError


class Command(BaseCommand):
    """Review a sample pull request for real, and leave the dashboard running."""

    help = __doc__ or ""
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--stop", action="store_true", help="stop the tour's dashboard")

    def handle(self, *args: Any, stop: bool, **options: Any) -> None:
        """Run the tour or end it."""
        from offload_web import demo

        try:
            code = demo.stop() if stop else demo.run()
        except OffloadError as error:
            print(f"{error.message}\n{error.hint}", file=sys.stderr)
            code = error.exit_code
        sys.exit(code)
