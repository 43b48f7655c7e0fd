"""The Django commands `offload`, `fleet`, `doctor` and `reconcile`. Django fixes the name of this package."""

from __future__ import annotations

import sys
from typing import ClassVar

from django.core.management.base import BaseCommand

from jobs.cli.main import main


class Shim(BaseCommand):
    """A Django command that passes its arguments to `jobs.cli.main`. `prefix`: the words before them."""

    prefix: ClassVar[tuple[str, ...]] = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """Run the command and end the process with its exit code."""
        sys.exit(main([*self.prefix, *argv[2:]]))

    def print_help(self, prog_name: str, subcommand: str) -> None:
        """Print the help of the command."""
        main([*self.prefix, "--help"])
