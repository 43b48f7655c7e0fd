"""What machines at Google need: check it, and repair what can be repaired. Needs no worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from django.conf import settings

from jobs.operations.progress import Progress
from jobs.operations.provision_settings import DEFAULT_MACHINE_TYPE, named_project, named_zones
from jobs.providers.gce.compute.strategies import AUTO, EXTERNAL
from jobs.providers.gce.compute.template import read_settings, read_spec
from jobs.providers.gce.identity import gcloud
from jobs.providers.gce.onboarding.examination import examine
from jobs.providers.gce.onboarding.observed import Seen, Wanted
from jobs.providers.gce.onboarding.repair import apply_repairs, repairable

Approve = Callable[[str], Awaitable[bool]]
"""Answers a question about one repair that grants something."""


@dataclass(frozen=True)
class GoogleRequest:
    """What the machines are to be. Empty fields take the configured value, else the default of Offload."""

    project: str = ""
    zones: tuple[str, ...] = ()
    machine_type: str = ""
    network: str = ""
    strategy: str = ""
    source: str = ""
    key: str = ""
    service_account: str = ""
    image: str = ""
    spot: bool = False


async def check_google(request: GoogleRequest) -> tuple[Wanted, Seen]:
    """Check everything; return what was checked and what was found.

    Raises `NotConfigured` or `UsageError` for values that make no sense.
    """
    project = named_project(request.project)
    if not project:
        program = await gcloud.look()
        project = program.project if program is not None else ""
    wanted = _wanted(request, project)
    return wanted, await examine(wanted)


async def repair_google(
    wanted: Wanted, seen: Seen, progress: Progress, approve: Approve, recheck: Progress
) -> Seen:
    """Repair what can be repaired, check again, and return what is found then. Each repair is tried once.

    What could not be checked before, because an API was off, is repaired in the next round. `approve` answers
    for what grants something. `recheck`: called with an empty text before each new check.
    """
    tried: frozenset[str] = frozenset()
    made = False
    while left := repairable(seen) - tried:
        if not await apply_repairs(wanted, seen, progress, approve, skip=tried):
            break
        tried |= left
        made = made or seen.made_identity
        if seen.made_identity:
            settings.OFFLOAD.write({"gcp_service_account": seen.identity})
            wanted = replace(wanted, spec=replace(wanted.spec, service_account=seen.identity))
        recheck("")
        seen = await examine(wanted)
        seen.made_identity = made
    return seen


def _wanted(request: GoogleRequest, project: str) -> Wanted:
    """Return what the machines are to be, from the request and the settings."""
    config = settings.OFFLOAD
    strategy = request.strategy or config.gcp_strategy
    found = read_settings(
        {
            "project": project or "unknown",
            "zone": named_zones(request.zones)[0],
            "network": request.network or config.gcp_network,
            "strategy": strategy,
        }
    )
    if not project:
        found = type(found)(**{**vars(found), "project": ""})
    spec = {"machine_type": request.machine_type or config.gcp_machine_type or DEFAULT_MACHINE_TYPE}
    if request.spot:
        spec["spot"] = True
    if identity := request.service_account or config.gcp_service_account:
        spec["service_account"] = identity
    if EXTERNAL in str(strategy):
        spec["external_ip"] = True
    key, image = request.key or str(config.gcp_key), request.image or str(config.gcp_image)
    source = request.source or str(config.gcp_source)
    # `auto` uses a public address when there is one, and requests none.
    return Wanted(found, read_spec(spec), key, image, None if strategy == AUTO else source)
