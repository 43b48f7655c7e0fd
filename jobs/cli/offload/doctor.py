"""`offload doctor [WORKER]`: print every setting with its source, and check what Offload needs."""

from __future__ import annotations

from collections.abc import Sequence

from asgiref.sync import sync_to_async
from django.conf import settings

from jobs import operations
from jobs.cli import check_output
from jobs.cli.offload.doctor_gcp import doctor_gcp
from jobs.cli.output import colour, print_json, say
from jobs.cli.request import Request
from jobs.cli.verbs import GOOGLE_OPTIONS
from jobs.client import get_client, is_remote
from jobs.errors import OffloadError, UsageError
from jobs.invocation import render_commands
from jobs.providers.base import Problem, Severity
from jobs.workers import find_worker


async def run(request: Request) -> int:
    """Print every setting with its source, and run the checks."""
    if request.gcp:
        if request.words or request.forget_host_key:
            raise UsageError("--gcp checks no worker.", hint="Write doctor --gcp, or doctor WORKER.")
        return await doctor_gcp(request)
    require_gcp(request)
    if request.agents or request.security:
        return await _only_check(request)
    if request.words:
        return await _doctor_of_worker(request)
    if request.forget_host_key:
        raise UsageError("--forget-host-key needs a worker.", hint="Name it: doctor WORKER.")
    problems = await operations.check_everything(say, apply=request.apply)
    if is_remote():
        problems.insert(0, await _check_remote())
    config = settings.OFFLOAD
    values = operations.list_settings()
    if request.json:
        checks = check_output.rows(problems)
        print_json("doctor", {"home": str(config.home), "settings": values, "checks": checks})
    else:
        print(f"Home:          {config.home}\nConfiguration: {config.config_file}\n")
        width = max(map(len, values))
        for key, item in values.items():
            print(f"  {key:<{width}} {item['value']!r:<24} {colour(item['source'], 'dim')}")
        print()
        _print(problems)
    return check_output.exit_code(problems)


async def _check_remote() -> Problem:
    """Check that the dashboard which OFFLOAD_URL names answers, and takes the token."""
    try:
        client = get_client()
        await client.list_jobs(operations.JobFilter(limit=1), say)
    except OffloadError as error:
        return Problem(Severity.FAIL, "dashboard", error.message, error.hint)
    detail = (
        f"Commands are about the jobs of {client.server}, which answers. The rest is about this computer."
    )
    return Problem(Severity.PASS, "dashboard", detail)


async def _doctor_of_worker(request: Request) -> int:
    worker = await sync_to_async(find_worker)(request.words[0])
    problems = await operations.check_worker_in_full(
        worker, say, apply=request.apply, forget_host_keys=request.forget_host_key
    )
    if request.json:
        print_json("doctor", {"worker": worker.name, "checks": check_output.rows(problems)})
    else:
        _print(problems)
    return check_output.exit_code(problems)


async def _only_check(request: Request) -> int:
    """Run the checks of agents or of security, on one worker or on all."""
    option = "--security" if request.security else "--agents"
    if request.agents and request.security:
        raise UsageError("--agents and --security are two checks.", hint="Run one after the other.")
    if request.apply or request.forget_host_key:
        raise UsageError(f"{option} only checks.", hint="Leave --apply and --forget-host-key out.")
    workers = [await sync_to_async(find_worker)(request.words[0])] if request.words else []
    check = operations.check_security if request.security else operations.check_agents
    problems = await check(workers)
    if request.json:
        print_json("doctor", {"checks": check_output.rows(problems)})
    else:
        _print(problems)
    return check_output.exit_code(problems)


def _print(problems: Sequence[Problem]) -> None:
    for problem in problems:
        word = colour(f"{problem.severity.value.upper():<4}", check_output.COLOURS[problem.severity])
        print(f"{word}  {problem.subject}: {render_commands(problem.detail)}")
        if problem.remedy and problem.severity is not Severity.PASS:
            print(f"      {render_commands(problem.remedy)}")
        if problem.command and problem.severity is not Severity.PASS:
            print(f"      {problem.command}")


def require_gcp(request: Request) -> None:
    """Raise `UsageError` when an option is given that only --gcp honours."""
    for option in (*GOOGLE_OPTIONS[1:], "source", "image", "spot"):
        if getattr(request.options, option, None):
            raise UsageError(
                f"--{option.replace('_', '-')} has an effect only with --gcp.", hint="Add --gcp."
            )
