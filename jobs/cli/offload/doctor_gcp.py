"""`doctor --gcp`: is everything there for machines at Google? It needs no worker."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.conf import settings

from jobs.cli import check_output
from jobs.cli.output import print_json, say
from jobs.cli.request import Request
from jobs.invocation import command
from jobs.operations import DEFAULT_MACHINE_TYPE, named_project, named_zones
from jobs.providers.gce.compute.strategies import AUTO, EXTERNAL
from jobs.providers.gce.compute.template import read_settings, read_spec
from jobs.providers.gce.identity import gcloud
from jobs.providers.gce.onboarding.examination import examine
from jobs.providers.gce.onboarding.observed import Seen, Wanted
from jobs.providers.gce.onboarding.repair import mend, mendable


def wanted_of(options: Mapping[str, Any], project: str) -> Wanted:
    """Return what the machines are to be, from flags and settings. Raises `NotConfigured`, `UsageError`."""
    config = settings.OFFLOAD
    values = {
        "project": project or "unknown",
        "zone": named_zones(tuple((options.get("zone") or "").split(",")) if options.get("zone") else ())[0],
        "network": options.get("network") or config.gcp_network,
        "strategy": options.get("strategy") or config.gcp_strategy,
    }
    found = read_settings(values)
    spec = {"machine_type": options.get("machine_type") or config.gcp_machine_type or DEFAULT_MACHINE_TYPE}
    if options.get("spot"):
        spec["spot"] = True
    if identity := options.get("service_account") or config.gcp_service_account:
        spec["service_account"] = identity
    if EXTERNAL in str(values["strategy"]):
        spec["external_ip"] = True
    key = str(options.get("key") or config.gcp_key)
    if not project:
        found = type(found)(**{**vars(found), "project": ""})
    image = str(options.get("image") or config.gcp_image)
    source = str(options.get("source") or config.gcp_source)
    # `auto` uses a public address when there is one, and asks for none.
    return Wanted(found, read_spec(spec), key, image, None if values["strategy"] == AUTO else source)


async def doctor_gcp(request: Request) -> int:
    """Look at everything, mend with --apply, and say what is left; exit code 4 when something fails."""
    project = named_project(request.project or "")
    if not project:
        program = await gcloud.look()
        project = program.project if program is not None else ""
    wanted = wanted_of(vars(request.options), project)
    seen = await look_and_mend(wanted, request, apply=request.apply)
    if request.json:
        print_json("gcp", as_json(wanted, seen))
    else:
        title(wanted)
        check_output.print_checks(seen.problems)
        say("\n" + check_output.summary(seen.problems, "" if request.apply else repair_command(wanted)))
    return check_output.exit_code(seen.problems)


async def look_and_mend(wanted: Wanted, request: Request, *, apply: bool) -> Seen:
    """Look; with `apply`, mend (what grants something is asked about, or needs --yes) and look again.

    What could not be looked at before (an API was off) is mended then, too; each thing is tried once.
    """
    seen = await examine(wanted)
    tried: frozenset[str] = frozenset()
    made = False
    while apply and (left := mendable(seen) - tried):
        if not await mend(wanted, seen, quiet if request.json else say, request.confirm, skip=tried):
            break
        tried |= left
        made = made or seen.made_identity
        if seen.made_identity:
            settings.OFFLOAD.write({"gcp_service_account": seen.identity})
            wanted = replace(wanted, spec=replace(wanted.spec, service_account=seen.identity))
        if not request.json:
            say("")
        seen = await examine(wanted)
        seen.made_identity = made
    return seen


def quiet(text: str) -> None:
    """Say nothing: with --json what was not mended comes back as a line."""


def repair_command(wanted: Wanted) -> str:
    """Return the command that repairs."""
    return command(f"doctor --gcp --project {wanted.project} --apply")


def title(wanted: Wanted) -> None:
    """Print what is looked at."""
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
