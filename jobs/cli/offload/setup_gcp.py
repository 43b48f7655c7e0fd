"""`offload setup --gcp`: ask for everything that machines at Google need, save it, and check it.

Every question has an option. Without a terminal, a missing answer is an error that names the option.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from django.conf import settings

from jobs import operations
from jobs.cli import check_output
from jobs.cli.offload import doctor_gcp
from jobs.cli.output import colour, plain, print_json, say
from jobs.cli.request import Request, ask
from jobs.errors import NotConfigured, NotFound, OffloadError, UsageError
from jobs.invocation import command
from jobs.operations import DEFAULT_MACHINE_TYPE, named_project
from jobs.providers.gce.compute import endpoints, naming, places
from jobs.providers.gce.compute.api import Api, endpoint_override
from jobs.providers.gce.compute.errors import ApiDisabled
from jobs.providers.gce.compute.network import check_source
from jobs.providers.gce.compute.strategies import AUTO, EXTERNAL, STRATEGIES, read_strategies
from jobs.providers.gce.identity import credentials, gcloud
from jobs.providers.gce.identity.account import Account
from jobs.providers.gce.onboarding.examination import NEEDED, OPTIONAL, TUNNEL
from jobs.providers.gce.onboarding.observed import Seen
from jobs.providers.gce.onboarding.repair import until_compute_answers

MANY = 15  # projects shown at once
ZONES_SAVED = 3


async def setup_gcp(request: Request) -> int:
    """Read the options or ask, save, check, and offer to repair; the exit code is that of `doctor`."""
    if not endpoints.is_local(endpoint_override()):
        await asyncio.to_thread(credentials.require_usable)
    program = await gcloud.look()
    if request.interactive and program is not None and program.account:
        say(f"Google Cloud, as {program.account} (gcloud's account).")
    project = await _project(request)
    machine_type = await _machine_type(request)
    strategy = await _strategy(request)
    source = await _source(request, strategy)
    zones = await _zones(request, project, machine_type, strategy)
    network = await _network(request, project)
    answers = {
        "gcp_project": project,
        "gcp_zones": ",".join(zones),
        "gcp_machine_type": machine_type,
        "gcp_network": network,
        "gcp_strategy": strategy,
        "gcp_source": source,
    }
    for key in ("image", "key", "service_account"):
        if getattr(request.options, key):
            answers[f"gcp_{key}"] = getattr(request.options, key)
    known = {**_as_options(answers), "zone": zones[0]}
    path = settings.OFFLOAD.write(answers)
    wanted, seen = await operations.check_google(doctor_gcp.read_google_request(request, **known))
    if request.apply:
        seen = await doctor_gcp.repair(request, wanted, seen)
    repairable = any(one.repair for one in seen.problems)
    if not request.json:
        say("")
        doctor_gcp.print_title(wanted)
        check_output.print_checks(seen.problems)
    if repairable and not request.apply and await request.confirm("\nRepair what can be repaired now?"):
        before = set(seen.problems)
        seen = await doctor_gcp.repair(request, wanted, seen)
        if not request.json:
            check_output.print_checks([one for one in seen.problems if one not in before])
    answers |= _learned(seen)
    settings.OFFLOAD.write(answers)
    if request.json:
        print_json("gcp", {**doctor_gcp.as_json(wanted, seen), "file": str(path), "set": sorted(answers)})
    else:
        _say_next(wanted, seen, str(path))
    return check_output.exit_code(seen.problems)


def _as_options(answers: dict[str, str]) -> dict[str, str]:
    return {key.removeprefix("gcp_"): value for key, value in answers.items()}


def _learned(seen: Seen) -> dict[str, str]:
    """Return the settings for ssh that the checks have found."""
    learned = {"gcp_user": seen.username, "gcp_key": str(seen.key.path) if seen.key else ""}
    return {key: value for key, value in learned.items() if value}


def _say_next(wanted: Any, seen: Seen, path: str) -> None:
    say("\n" + check_output.summary(seen.problems, doctor_gcp.repair_command(wanted)))
    say(f"Saved in {path}.")
    if check_output.exit_code(seen.problems):
        return
    image = "" if settings.OFFLOAD.gcp_image else " --image IMAGE@sha256:..."
    say("Next, create a machine (the price is shown before it asks):")
    print(" " * check_output.INDENT + colour(command(f"fleet provision big{image}"), "bold"))


def _missing(flag: str, what: str) -> UsageError:
    return UsageError(
        f"{flag} is missing: {what} is unknown and no terminal is available.", hint=f"Pass {flag}."
    )


async def _choose(title: str, choices: Sequence[tuple[str, str]], default: str) -> str:
    """Ask for one of the choices (name, description) by number or name; another name is accepted too."""
    say("\n" + colour(title, "bold", sys.stderr))
    width = max((len(name) for name, _ in choices), default=0)
    for number, (name, about) in enumerate(choices, 1):
        say(f"  {number:>2}  {plain(name):<{width}}  {colour(plain(about), 'dim', sys.stderr)}".rstrip())
    while True:
        answer = await ask(f"Number or name [{default}]: " if default else "Number or name: ")
        if not answer and default:
            return default
        if answer.isdigit():
            if 0 < int(answer) <= len(choices):
                return choices[int(answer) - 1][0]
            say(f"There is no number {answer}.")
        elif answer:
            return answer


async def _project(request: Request) -> str:
    found = str(request.project or "")
    if found:
        return found
    default = named_project()
    if not request.interactive:
        if default:
            return default
        raise _missing("--project", "the Google Cloud project")
    account = Account(default)
    try:
        visible = await account.projects()
    except OffloadError as error:
        say(f"Listing your projects failed: {error.message}")
        visible = []
    finally:
        account.close()
    choices = [(str(one.get("projectId")), str(one.get("displayName") or "")) for one in visible]
    if not choices and not default:
        say("Create one at https://console.cloud.google.com/projectcreate, or: gcloud projects create ID")
    if not default and len(choices) == 1:
        default = choices[0][0]
    if len(choices) > MANY:
        say(f"{len(choices)} projects are yours; these are the first {MANY}.")
    return await _choose("Project", choices[:MANY], default)


async def _machine_type(request: Request) -> str:
    found = str(request.machine_type or "")
    default = settings.OFFLOAD.gcp_machine_type or DEFAULT_MACHINE_TYPE
    if found or not request.interactive:
        return found or default
    kinds = [
        ("n2-standard-8", "8 vCPUs, 32 GiB"),
        ("n2-standard-16", "16 vCPUs, 64 GiB"),
        ("e2-standard-4", "4 vCPUs, 16 GiB, the cheapest of these"),
    ]
    return await _choose("Machine type", kinds, default)


async def _strategy(request: Request) -> str:
    found = str(request.strategy or "")
    default = settings.OFFLOAD.gcp_strategy or STRATEGIES[0]
    if not found and request.interactive:
        ways = [
            ("iap", "through Google's identity-aware proxy; no public address"),
            ("internal", "from a network that reaches theirs (VPN)"),
            ("external", "by a public address"),
            (AUTO, "whichever of these answers"),
        ]
        found = await _choose("How machines are reached", ways, default)
    read_strategies(found or default)
    return found or default


async def _source(request: Request, strategy: str) -> str:
    """Return who may use ssh: needed where machines have a public address."""
    found = str(request.source or settings.OFFLOAD.gcp_source)
    if not found and EXTERNAL in strategy:
        if not request.interactive:
            raise _missing("--source", "the range of addresses that may use ssh")
        found = await ask("From which range of addresses (203.0.113.7/32)? ")
    return check_source(found) if found else ""


async def _zones(request: Request, project: str, machine_type: str, strategy: str) -> list[str]:
    """Return the zones to save: the chosen one first, then others of its region that have the type."""
    given = request.zone or ",".join(settings.OFFLOAD.gcp_zones)
    if request.zone or (given and not request.interactive):
        return [zone.strip() for zone in str(given).split(",") if zone.strip()]
    if not request.interactive:
        raise _missing("--zone", "the zone for machines")
    names = await _zone_names(request, project, strategy)
    regions = places.by_distance({naming.region_of(name) for name in names})
    nearest: list[str] = []
    for region in regions[:5]:
        here = sorted(name for name in names if naming.region_of(name) == region)
        nearest += await _with_type(project, here, machine_type)
        if len(nearest) >= ZONES_SAVED:
            break
    if not nearest:
        raise NotFound(
            f"None of the near regions has a {machine_type}.",
            hint="Name another type with --machine-type, or a zone with --zone.",
        )
    choices = [(zone, "nearest" if zone == nearest[0] else "") for zone in nearest]
    chosen = await _choose(f"Zone (these have {machine_type})", choices, given.split(",")[0] or nearest[0])
    region = naming.region_of(chosen)
    others = [zone for zone in nearest if zone != chosen and naming.region_of(zone) == region]
    return [chosen, *others][:ZONES_SAVED]


async def _zone_names(request: Request, project: str, strategy: str) -> list[str]:
    compute = Api(project, endpoint_override())

    async def read() -> list[str]:
        found = await compute.pages("zones", "list", f"Listing the zones for {project}")
        return [str(one["name"]) for one in found if one.get("status", "UP") == "UP"]

    try:
        return await read()
    except ApiDisabled:
        wanted = [*NEEDED, *([TUNNEL] if STRATEGIES[0] in read_strategies(strategy) else []), *OPTIONAL]
        say(f"The Compute Engine API is off in {project}.")
        if not await request.confirm(f"Turn on the {len(wanted)} APIs that Offload uses (free of charge)?"):
            raise
    account = Account(project)
    try:
        say("Turning them on ...")
        await account.enable(wanted)
    finally:
        account.close()
    await until_compute_answers(project, say)
    return await read()


async def _with_type(project: str, zones: Sequence[str], machine_type: str) -> list[str]:
    compute = Api(project, endpoint_override())

    async def has(zone: str) -> bool:
        doing = f"Looking for {machine_type} in {zone}"
        try:
            await compute.call("machine_types", "get", doing, zone=zone, machine_type=machine_type)
        except (NotFound, UsageError):
            return False
        return True

    found = await asyncio.gather(*(has(zone) for zone in zones))
    return [zone for zone, there in zip(zones, found, strict=True) if there]


async def _network(request: Request, project: str) -> str:
    found = request.network
    if found is not None or not request.interactive:
        return str(found if found is not None else settings.OFFLOAD.gcp_network)
    own = (naming.NETWORK, "made for you: private, with a NAT, ssh from the proxy only")
    try:
        listed = await Api(project, endpoint_override()).pages("networks", "list", "Listing the networks")
    except NotConfigured:
        listed = []
    names = sorted(str(one["name"]) for one in listed if one.get("name") != naming.NETWORK)
    default = settings.OFFLOAD.gcp_network or naming.NETWORK
    chosen = await _choose("Network", [own, *((name, "yours") for name in names)], default)
    return "" if chosen == naming.NETWORK else chosen
