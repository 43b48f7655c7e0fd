"""The ground of every command: parse, one asyncio run, errors to exit codes."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from jobs.cli.database import ensure_database
from jobs.cli.fleet import simulation
from jobs.errors import OffloadError
from jobs.workers import close_lines

EXIT_UNEXPECTED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class Parser(CommandParser):
    """argparse, with errors in JSON when that was asked for."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        if "--json" in sys.argv:
            print_error_json("usage", message, f"See `{self.prog} --help`.")
        else:
            self.print_usage(sys.stderr)
            print(f"{self.prog}: {message}", file=sys.stderr)
        sys.exit(EXIT_USAGE)

    def add_hidden_options(self) -> None:
        """Accept what every Django command accepts, without a word in the help."""
        for name in ("--settings", "--pythonpath"):
            self.add_argument(name, help=argparse.SUPPRESS)
        for name in ("--no-color", "--force-color", "--skip-checks"):
            self.add_argument(name, action="store_true", help=argparse.SUPPRESS)
        self.add_argument("--verbosity", type=int, default=1, help=argparse.SUPPRESS)
        self.add_argument(
            "--traceback", action="store_true", help="show the traceback of an unexpected error"
        )


def print_error_json(code: str, message: str, hint: str) -> None:
    """Print an error as `--json` promises it."""
    print(json.dumps({"error": {"code": code, "message": message, "hint": hint or None}}))


class AsyncCommand(BaseCommand):
    """A command whose work is the coroutine `run`, which returns the exit code."""

    requires_system_checks: list[str] = []
    parser_class: ClassVar[type[Parser]] = Parser
    needs_database = True

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return the parser, with Django's own options out of the help."""
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        parser = self.parser_class(
            prog=f"{Path(prog_name).name} {subcommand}",
            description=self.help or None,
            called_from_command_line=True,
            allow_abbrev=False,
            **kwargs,
        )
        parser.add_hidden_options()
        self.add_arguments(parser)
        return parser

    async def run(self, **options: Any) -> int:
        """Do the work; return the exit code."""
        raise NotImplementedError

    def interrupted(self) -> str:
        """Say what Ctrl-C means for what was under way."""
        return "Interrupted."

    def handle(self, *args: Any, **options: Any) -> None:
        """Run, and turn every outcome into an exit code."""
        sys.exit(self._run(**options))

    async def _run_and_close(self, **options: Any) -> int:
        try:
            return await self.run(**options)
        finally:
            await close_lines()

    def _run(self, **options: Any) -> int:
        try:
            if self.needs_database:
                ensure_database()
                simulation.start_if_used()
            code = asyncio.run(self._run_and_close(**options))
            # A reader that left shows here, not in the interpreter's last breath.
            sys.stdout.flush()
            return code
        except OffloadError as error:
            return self._report(error, bool(options.get("json")))
        except KeyboardInterrupt:
            if options.get("json"):
                print_error_json("interrupted", self.interrupted(), "")
            else:
                print(f"\n{self.interrupted()}", file=sys.stderr)
            return EXIT_INTERRUPTED
        except BrokenPipeError:
            # The reader of our output left (`| head`); that is no error of ours.
            sys.stdout = None
            return 0
        except Exception as error:
            if options.get("traceback"):
                raise
            return self._report_unexpected(error, bool(options.get("json")))

    def _report(self, error: OffloadError, as_json: bool) -> int:
        if as_json:
            print_error_json(error.code, error.message, error.hint)
        else:
            print(error.message, file=sys.stderr)
            if error.hint:
                print(error.hint, file=sys.stderr)
        return error.exit_code

    def _report_unexpected(self, error: Exception, as_json: bool) -> int:
        message = f"Something unexpected happened: {type(error).__name__}: {error}"
        try:
            hint = f"The traceback is in {_keep_traceback()}; please report it."
        except OSError as full:
            hint = f"Its traceback could not be kept ({full}); --traceback shows it."
        if as_json:
            print_error_json("unexpected", message, hint)
        else:
            print(f"{message}\n{hint}", file=sys.stderr)
        return EXIT_UNEXPECTED


def _keep_traceback() -> Path:
    folder = Path(settings.OFFLOAD.logs)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "errors.log"
    # What went wrong may name what is private.
    private = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with open(private, "a", encoding="utf-8") as file:
        file.write(
            f"--- {datetime.now(UTC).isoformat()} {' '.join(sys.argv[1:2])}\n{traceback.format_exc()}\n"
        )
    return path
