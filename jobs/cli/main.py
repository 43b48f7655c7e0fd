"""The entry point of `offload`: find the verb, parse, set Django up, run, turn errors into exit codes.

`offload ...`, `manage.py offload ...` and `manage.py fleet|doctor ...` all end in `main`.
"""

from __future__ import annotations

import gc
import importlib
import io
import os
import sys
from collections.abc import Awaitable, Callable, Sequence

from jobs import invocation
from jobs.cli.fleet_verbs import FLEET
from jobs.cli.local_time import remember_zone
from jobs.cli.parser import LAUNCH_NAME, Parser, find_verb, fleet_help, parse, print_error_json
from jobs.cli.request import Request
from jobs.cli.suggestions import suggest_verb
from jobs.cli.verbs import LAUNCH, VERBS
from jobs.errors import OffloadError, UsageError
from jobs.terminal_text import guard_terminal

EXIT_UNEXPECTED = 1
EXIT_INTERRUPTED = 130
_WITHOUT_DJANGO = ("help", "version", "completion", "skill")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of Offload and return its exit code. `arguments`: without the program's name."""
    # Imports make hundreds of thousands of objects that live as long as the command: looking through them for
    # garbage, again and again and once more at the exit, is a third of a short command's time.
    gc.set_threshold(50_000, 20, 100)
    words = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # what the locale's character set lacks is no error
    sys.stdout, sys.stderr = guard_terminal(sys.stdout), guard_terminal(sys.stderr)
    remember_zone()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "offload_web.settings")
    if words[:1] == ["__complete"]:
        from jobs.cli.completion import print_choices

        return print_choices(words[1:])
    name, rest = find_verb(words)
    if name == LAUNCH_NAME and rest in (["--version"], ["-V"]):
        name, rest = "version", []
    if name == "fleet":
        return _run_fleet_without_verb(rest)
    if name in VERBS and VERBS[name].django:
        return _run_django_command(name, rest)
    request = make_command(name, rest)
    if name == "status" and not request.words:
        name, request = "ls", make_command("ls", rest)
    as_json = bool(getattr(request.options, "json", False))
    code = run_safely(
        lambda: run_verb(name, request),
        as_json=as_json,
        needs_database=name not in _WITHOUT_DJANGO,
        may_be_remote=VERBS.get(name, LAUNCH).remote == "works",
        traceback=bool(request.options.traceback),
        describe_interruption=lambda: request.if_interrupted,
    )
    gc.freeze()
    return code


def _run_django_command(name: str, rest: Sequence[str]) -> int:
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line([sys.argv[0], name, *rest])
    except OffloadError as error:
        _report(error, as_json=False)
        return error.exit_code
    return 0


def _run_fleet_without_verb(rest: Sequence[str]) -> int:
    if "-h" in rest or "--help" in rest:
        print(fleet_help(), end="")
        return 0
    parser = Parser(prog=invocation.command("fleet"), usage=f"{invocation.command('fleet')} VERB [options]")
    parser.arguments = rest
    known = ", ".join(FLEET)
    word = next((word for word in rest if not word.startswith("-")), "")
    near = suggest_verb(word, FLEET) if word else ""
    meant = f"Did you mean {near!r}? " if near else ""
    message = (
        f"{word!r} is not a verb of fleet. {meant}Verbs: {known}" if word else f"VERB is missing: {known}"
    )
    return parser.error(message)


def make_command(name: str, arguments: Sequence[str]) -> Request:
    """Return the request that the arguments of a verb mean. A usage error ends the process."""
    options = parse(name, arguments)
    return Request(options.words, options)


async def run_verb(name: str, request: Request) -> int:
    """Run one verb and return its exit code. Raises `OffloadError`."""
    _write_plain_logs()
    if VERBS.get(name, LAUNCH).remote == "refused":
        _refuse_remote(name)
    code: int = await importlib.import_module(f"jobs.cli.{'.'.join(module_of(name))}").run(request)
    return code


def _refuse_remote(name: str) -> None:
    """Raise `UsageError` for a verb that is about the computer of the dashboard that OFFLOAD_URL names."""
    from jobs.client import is_remote

    if is_remote():
        raise UsageError(
            f"`offload {name}` does not work with a remote dashboard, and OFFLOAD_URL names one.",
            hint="Run it on the dashboard's computer; an empty OFFLOAD_URL means this computer's own jobs.",
        )


def module_of(name: str) -> tuple[str, str]:
    """Return the package and the module of a verb."""
    folder, _, verb = name.rpartition(" ")
    return folder or "offload", (verb or "launch").replace("-", "_")


def run_safely(
    run: Callable[[], Awaitable[int]],
    *,
    as_json: bool = False,
    needs_database: bool = True,
    may_be_remote: bool = False,
    traceback: bool = False,
    describe_interruption: Callable[[], str] = lambda: "Interrupted.",
) -> int:
    """Run a coroutine to its end, report errors as text or JSON, and return the exit code.

    `may_be_remote`: it needs no database here when OFFLOAD_URL names a dashboard.
    """
    try:
        if needs_database:
            _set_django_up(may_be_remote)
        code = _run_in_loop(run)
        # A reader that has left is noticed here rather than when the interpreter exits.
        sys.stdout.flush()
        return code
    except OffloadError as error:
        _report(error, as_json)
        return error.exit_code
    except KeyboardInterrupt:
        if as_json:
            print_error_json("interrupted", describe_interruption(), "")
        else:
            print(f"\n{invocation.render_commands(describe_interruption())}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left (`| head`), which is not an error.
        sys.stdout = None
        return 0
    except Exception as error:
        if traceback:
            raise
        _report_unexpected(error, as_json)
        return EXIT_UNEXPECTED


def _set_django_up(may_be_remote: bool) -> None:
    import django
    from django.conf import settings

    django.setup()
    if may_be_remote and settings.OFFLOAD.url:
        return
    from jobs.cli.database import ensure_database

    ensure_database()
    if (settings.OFFLOAD.home / "simulator").exists():
        from jobs.operations import start_if_used

        start_if_used()


def _write_plain_logs() -> None:
    """Write warnings as sentences on stderr; dates and names of loggers are for `serve`."""
    import logging

    for handler in logging.getLogger().handlers:
        if handler.formatter is not None:
            handler.setFormatter(type(handler.formatter)("%(message)s"))


def _run_in_loop(run: Callable[[], Awaitable[int]]) -> int:
    import asyncio

    async def run_and_close() -> int:
        try:
            return await run()
        finally:
            for module in ("jobs.transport.pool", "jobs.client.remote"):
                if module in sys.modules:
                    await sys.modules[module].aclose_all()

    return asyncio.run(run_and_close())


def _report(error: OffloadError, as_json: bool) -> None:
    message, hint = (invocation.render_commands(text) for text in (error.message, error.hint))
    if as_json:
        print_error_json(error.code, message, hint)
    else:
        print(f"{message}\n{hint}".strip(), file=sys.stderr)


def _report_unexpected(error: Exception, as_json: bool) -> None:
    message = f"Unexpected error: {type(error).__name__}: {error}"
    try:
        hint = f"The traceback is in {_save_traceback()}. Please report it."
    except OSError as full:
        hint = f"Its traceback could not be saved ({full}). --traceback shows it."
    if as_json:
        print_error_json("unexpected", message, hint)
    else:
        print(f"{message}\n{hint}", file=sys.stderr)


def _save_traceback() -> str:
    import traceback
    from datetime import UTC, datetime
    from pathlib import Path

    from django.conf import settings

    folder = Path(settings.OFFLOAD.logs)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "errors.log"
    # The error may name private data.
    private = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with open(private, "a", encoding="utf-8") as file:
        file.write(
            f"--- {datetime.now(UTC).isoformat()} {' '.join(sys.argv[1:2])}\n{traceback.format_exc()}\n"
        )
    return str(path)
