"""Verbs about Offload itself: doctor, setup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings

from jobs.cli import check_output
from jobs.cli.offload import doctor_checks
from jobs.cli.offload.doctor_gcp import doctor_gcp
from jobs.cli.offload.request import Request, ask
from jobs.cli.offload.setup_gcp import setup_gcp
from jobs.cli.output import colour, print_json, say
from jobs.cli.parser import GCP
from jobs.errors import NotConfigured, UsageError
from jobs.providers.base import Problem, Severity
from jobs.workers import find_worker


async def doctor(request: Request) -> int:
    """`doctor`: every setting with its source, and whether everything that is needed is there."""
    if request.gcp:
        if request.words or request.forget_host_key:
            raise UsageError("--gcp is about no worker.", hint="Write doctor --gcp, or doctor WORKER.")
        return await doctor_gcp(request)
    _require_gcp(request)
    if request.words:
        return await _doctor_of_worker(request)
    if request.forget_host_key:
        raise UsageError("--forget-host-key is about one worker.", hint="Name it: doctor WORKER.")
    problems = await doctor_checks.check_everything(apply=request.apply)
    config = settings.OFFLOAD
    values = _values(config)
    if request.json:
        checks = check_output.rows(problems)
        print_json("doctor", {"home": str(config.home), "settings": values, "checks": checks})
    else:
        print(f"Home:          {config.home}\nConfiguration: {config.config_file}\n")
        for key, item in values.items():
            print(f"  {key:<14} {item['value']!r:<24} {colour(item['source'], 'dim')}")
        print()
        _print(problems)
    return check_output.exit_code(problems)


async def _doctor_of_worker(request: Request) -> int:
    worker = await sync_to_async(find_worker)(request.words[0])
    problems = await doctor_checks.check_worker_in_full(
        worker, apply=request.apply, forget=request.forget_host_key
    )
    if request.json:
        print_json("doctor", {"worker": worker.name, "checks": check_output.rows(problems)})
    else:
        _print(problems)
    return check_output.exit_code(problems)


def _print(problems: Sequence[Problem]) -> None:
    for problem in problems:
        word = colour(f"{problem.severity.value.upper():<4}", check_output.COLOURS[problem.severity])
        print(f"{word}  {problem.subject}: {problem.detail}")
        if problem.remedy and problem.severity is not Severity.PASS:
            print(f"      {problem.remedy}")
        if problem.command and problem.severity is not Severity.PASS:
            print(f"      {problem.command}")


def _values(config: Any) -> dict[str, dict[str, Any]]:
    values = {key: {"value": value, "source": config.sources[key]} for key, value in config.values.items()}
    if values["database_url"]["value"]:
        # It may hold a password.
        values["database_url"]["value"] = "(set)"
    return values


async def setup(request: Request) -> int:
    """`offload setup [--set KEY=VALUE ...]`: write settings to `config.toml`; asks when nothing is given."""
    if request.gcp:
        if request.set:
            raise UsageError("--set and --gcp do not go together.", hint="Write two commands.")
        return await setup_gcp(request)
    _require_gcp(request)
    config = settings.OFFLOAD
    known = config.known()
    changes = dict(_pair(text, known) for text in request.set or ())
    if not changes and request.interactive:
        changes = await _ask(known)
        if not changes:
            print("Nothing was changed. `manage.py doctor` shows all settings.")
            say("For machines at Google: `manage.py offload setup --gcp`.")
            return 0
    if not changes:
        raise UsageError(
            "There is nothing to set.", hint=f"Use --set KEY=VALUE. Keys: {', '.join(sorted(known))}."
        )
    try:
        path = config.write(changes)
    except NotConfigured as error:
        # The value came from the command line, so it is the command that is wrong.
        raise UsageError(error.message, hint=error.hint) from error
    if request.json:
        print_json("settings", {"file": str(path), "set": sorted(changes)})
    else:
        print(f"{path} now sets {', '.join(sorted(changes))}. `manage.py doctor` shows all settings.")
        if request.interactive:
            say("For machines at Google: `manage.py offload setup --gcp`.")
    return 0


def _require_gcp(request: Request) -> None:
    """Raise `UsageError` when an option is given that means something with --gcp only."""
    for option in (*GCP[1:], "source", "image", "spot"):
        if request.options.get(option):
            raise UsageError(f"--{option.replace('_', '-')} belongs to --gcp.", hint="Add --gcp.")


def _pair(text: str, known: Mapping[str, str]) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or key not in known:
        raise UsageError(
            f"{text!r} sets nothing.", hint=f"Write KEY=VALUE. Keys: {', '.join(sorted(known))}."
        )
    return key, value


async def _ask(known: Mapping[str, str]) -> dict[str, str]:
    """Ask for the two settings that most people want; an empty answer leaves one as it is."""
    answers = {}
    for key in ("repo", "worker"):
        answer = await ask(f"{known[key]}\n{key} [{settings.OFFLOAD.values[key]}]: ")
        if answer:
            answers[key] = answer
    return answers
