"""What the provider needs in order to work, looked at one by one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from jobs.errors import NotFound, OffloadError
from jobs.providers.base import Problem, Severity
from jobs.providers.gce.api import Api, Json
from jobs.providers.gce.failures import quota_link
from jobs.providers.gce.template import Settings, Spec

QUOTAS = ("CPUS", "SSD_TOTAL_GB")


async def check(api: Api, settings: Settings) -> Sequence[Problem]:
    """Return what was seen of project, zone, machine type, quota, network and gcloud.

    Stops at the project when that cannot be read: nothing else could be.
    """
    problems = [_tunnel(settings)]
    try:
        await api.call("projects", "get", f"Reading the project {settings.project}")
    except OffloadError as error:
        return [*problems, _failed("project", error)]
    problems.append(Problem(Severity.PASS, "project", f"{settings.project} can be read."))
    for subject, service, fields in (
        ("zone", "zones", {"zone": settings.zone}),
        ("machine type", "machine_types", {"zone": settings.zone, "machine_type": Spec().machine_type}),
    ):
        try:
            found = await api.call(service, "get", f"Looking for the {subject}", **fields)
            problems.append(Problem(Severity.PASS, subject, f"{found.get('name')} is there."))
        except OffloadError as error:
            problems.append(_failed(subject, error))
    try:
        region = await api.call("regions", "get", "Reading the quotas", region=settings.region)
        problems += _quotas(region, settings)
    except OffloadError as error:
        problems.append(_failed("quota", error))
    problems.append(await _network(api, settings))
    return problems


def _failed(subject: str, error: OffloadError) -> Problem:
    return Problem(Severity.FAIL, subject, error.message, error.hint or "See `manage.py offload setup`.")


def _tunnel(settings: Settings) -> Problem:
    if settings.strategy != "iap":
        return Problem(
            Severity.PASS, "connection", f"Machines are reached by the strategy {settings.strategy}."
        )
    program = settings.tunnel[0]
    if shutil.which(program) is None:
        remedy = "Install it (https://cloud.google.com/sdk/docs/install), or use another strategy."
        return Problem(
            Severity.FAIL, "connection", f"There is no {program} on the PATH for the tunnel.", remedy
        )
    return Problem(Severity.PASS, "connection", f"{program} carries ssh through the identity-aware proxy.")


def _quotas(region: Json, settings: Settings) -> Sequence[Problem]:
    found = {str(one.get("metric")): one for one in region.get("quotas") or ()}
    series = f"{Spec().series.upper()}_CPUS"
    problems = []
    for metric in (*QUOTAS, series):
        if metric not in found:
            continue
        limit, usage = float(found[metric].get("limit", 0)), float(found[metric].get("usage", 0))
        text = f"{metric} in {settings.region}: {usage:g} of {limit:g} are used."
        needed = 200 if metric == "SSD_TOTAL_GB" else 8
        if limit - usage < needed:
            remedy = f"Raise the quota at {quota_link(settings.project)}."
            severity = Severity.FAIL if limit < needed else Severity.WARN
            problems.append(Problem(severity, "quota", text, remedy))
        else:
            problems.append(Problem(Severity.PASS, "quota", text))
    return problems


async def _network(api: Api, settings: Settings) -> Problem:
    try:
        await api.call("networks", "get", "Looking for the network", network=settings.network)
    except NotFound:
        if settings.own_network:
            remedy = "`manage.py fleet provision` makes it."
            return Problem(Severity.WARN, "network", f"There is no network {settings.network} yet.", remedy)
        remedy = f"See `gcloud compute networks list --project {settings.project}`."
        return Problem(Severity.FAIL, "network", f"There is no network {settings.network}.", remedy)
    except OffloadError as error:
        return _failed("network", error)
    return Problem(Severity.PASS, "network", f"{settings.network} is there.")
