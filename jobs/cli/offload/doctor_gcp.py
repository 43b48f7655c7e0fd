"""`offload doctor --gcp`: check what machines at Google need."""

from __future__ import annotations

import sys
from typing import Any

from jobs import operations
from jobs.cli import check_output
from jobs.cli.output import print_json, say
from jobs.cli.request import Request
from jobs.invocation import command
from jobs.operations import GoogleRequest
from jobs.providers.gce.onboarding.observed import Seen, Wanted


async def doctor_gcp(request: Request) -> int:
    """Check everything, repair with --apply, and print what is left; exit code 4 when a check fails."""
    wanted, seen = await operations.check_google(read_google_request(request))
    if request.apply:
        seen = await repair(request, wanted, seen)
    if request.json:
        print_json("gcp", as_json(wanted, seen))
    else:
        print_title(wanted)
        check_output.print_checks(seen.problems)
        say("\n" + check_output.summary(seen.problems, "" if request.apply else repair_command(wanted)))
    return check_output.exit_code(seen.problems)


def read_google_request(request: Request, **known: str) -> GoogleRequest:
    """Return what the options ask for. `known`: values that replace those of the options."""
    options = {**vars(request.options), **known}
    names = ("project", "machine_type", "network", "strategy", "source", "key", "service_account", "image")
    return GoogleRequest(
        zones=tuple((options.get("zone") or "").split(",")) if options.get("zone") else (),
        spot=bool(options.get("spot")),
        **{name: options.get(name) or "" for name in names},
    )


async def repair(request: Request, wanted: Wanted, seen: Seen) -> Seen:
    """Repair and check again. What grants something is asked about, or needs --yes."""
    # With --json, what was not repaired is part of the answer.
    progress = operations.silent if request.json else say
    return await operations.repair_google(wanted, seen, progress, request.confirm, progress)


def repair_command(wanted: Wanted) -> str:
    """Return the command that repairs."""
    return command(f"doctor --gcp --project {wanted.project} --apply")


def print_title(wanted: Wanted) -> None:
    """Print what is checked, on a terminal."""
    where = f"{wanted.spec.machine_type} in {wanted.settings.zone}"
    if sys.stdout.isatty():
        print(f"Google Cloud, project {wanted.project or '(none)'}: {where}\n")


def as_json(wanted: Wanted, seen: Seen) -> dict[str, Any]:
    """Return everything as data; never a token."""
    return {
        "project": wanted.project or None,
        "zone": wanted.settings.zone,
        "machine_type": wanted.spec.machine_type,
        "network": wanted.settings.network,
        "strategy": ",".join(wanted.settings.strategies),
        "account": seen.email or None,
        "user": seen.username or None,
        "service_account": seen.identity if wanted.spec.service_account or seen.made_identity else None,
        "key": str(seen.key.path) if seen.key else None,
        "checks": check_output.rows(seen.problems),
    }
