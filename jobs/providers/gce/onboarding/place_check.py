"""Where machines are to be made, looked at one by one: project, zone, type, quota, network, gcloud."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from typing import Any

from jobs.errors import NotFound, OffloadError
from jobs.providers.base import Problem, Severity
from jobs.providers.gce.compute import prices
from jobs.providers.gce.compute.api import Api, Json
from jobs.providers.gce.compute.errors import quota_link
from jobs.providers.gce.compute.strategies import EXTERNAL
from jobs.providers.gce.compute.template import Settings, Spec

WAY = "connection"

# Series whose vCPUs have no quota of their own, only CPUS. Series that are newer than N2D are counted by
# machine family, and `regions.get` does not tell: https://cloud.google.com/compute/resource-usage
WITHOUT_QUOTA = frozenset({"e2", "f1", "g1", "n1", "t2d"})


async def check(api: Api, settings: Settings, spec: Spec | None = None) -> Sequence[Problem]:
    """Return what was seen of project, zone, machine type, quota, network and gcloud.

    Stops at the project when that cannot be read: nothing else could be.
    """
    found = ways(settings)
    project: Json | OffloadError = await _ask(api, "projects", f"Reading the project {settings.project}")
    if isinstance(project, OffloadError):
        return [*found, failed("project", project)]
    seen = Problem(Severity.PASS, "project", f"{settings.project} can be read.")
    return [*found, seen, *await place(api, settings, spec or Spec(), project)]


async def place(api: Api, settings: Settings, spec: Spec, project: Json) -> Sequence[Problem]:
    """Return what was seen of zone, machine type, quotas and network. `project`: the API's answer."""
    zone, kind, region, network = await asyncio.gather(
        _ask(api, "zones", f"Looking for the zone {settings.zone}", zone=settings.zone),
        _ask(
            api, "machine_types", f"Looking for {spec.machine_type} in {settings.zone}",
            zone=settings.zone, machine_type=spec.machine_type,
        ),
        _ask(api, "regions", f"Reading the quotas of {settings.region}", region=settings.region),
        _network(api, settings),
    )  # fmt: skip
    if isinstance(zone, OffloadError):
        command = f"gcloud compute zones list --project {settings.project}"
        return [failed("zone", zone, command), network]
    problems = [Problem(Severity.PASS, "zone", f"{settings.zone} is there.")]
    if isinstance(kind, OffloadError):
        command = f"gcloud compute machine-types list --zones {settings.zone} --project {settings.project}"
        text = f"There is no {spec.machine_type} in {settings.zone}."
        absent = isinstance(kind, NotFound) or kind.exit_code == 2
        seen = Problem(Severity.FAIL, "machine type", text, command=command)
        problems.append(seen if absent else failed("machine type", kind, command))
    else:
        gib = float(kind.get("memoryMb") or 0) / 1024
        text = f"{spec.machine_type} has {kind.get('guestCpus')} vCPUs and {gib:g} GiB."
        problems.append(Problem(Severity.PASS, "machine type", text))
    if isinstance(region, OffloadError):
        problems.append(failed("quota", region))
    else:
        cpus = 0 if isinstance(kind, OffloadError) else int(kind.get("guestCpus") or 0)
        problems += quotas(project, region, settings, spec, cpus)
    return [*problems, network]


async def _ask(api: Api, service: str, doing: str, **fields: Any) -> Json | OffloadError:
    try:
        return await api.call(service, "get", doing, **fields)
    except OffloadError as error:
        return error


def failed(subject: str, error: OffloadError, command: str = "") -> Problem:
    """Return the line for an error: its remedy, and the command if there is a better one."""
    if command and command in error.hint:
        return Problem(Severity.FAIL, subject, error.message, command=command)
    return Problem(Severity.FAIL, subject, error.message, error.hint, command)


def ways(settings: Settings, source: str | None = None) -> Sequence[Problem]:
    """Return a line for each way that machines are reached by, in the order in which they are tried.

    What one of several lacks is a warning: the others are left. `source`: the range that may use ssh (empty:
    Google's proxy alone); None: the machines are made, and their rule with them.
    """
    bad = Severity.FAIL if len(settings.strategies) == 1 else Severity.WARN
    return [_way(name, settings, source, bad) for name in settings.strategies]


def _way(name: str, settings: Settings, source: str | None, bad: Severity) -> Problem:
    if name == "iap":
        program = settings.tunnel[0]
        if shutil.which(program) is None:
            remedy = "Install it (https://cloud.google.com/sdk/docs/install), or use another strategy."
            return Problem(bad, WAY, f"iap: there is no {program} on the PATH for the tunnel.", remedy)
        text = f"iap: {program} carries ssh through the identity-aware proxy."
        return Problem(Severity.PASS, WAY, text)
    if name == EXTERNAL:
        if source == "":
            remedy = (
                "Name your own range (and --strategy external, or `fleet provision` asks for no address):"
            )
            command = "manage.py offload setup --set gcp_source=203.0.113.7/32"
            return Problem(bad, WAY, "external: no range of addresses may use ssh.", remedy, command)
        return Problem(
            Severity.PASS, WAY, f"external: by a public address{f', from {source}' if source else ''}."
        )
    host = settings.host_pattern.format(
        vm="NAME", zone=settings.zone, project=settings.project, suffix=settings.suffix
    )
    return Problem(Severity.PASS, WAY, f"internal: by {host}, from a network that reaches theirs.")


def quotas(project: Json, region: Json, settings: Settings, spec: Spec, cpus: int) -> Sequence[Problem]:
    """Return a line per quota that a machine of `cpus` vCPUs needs (0: the size is not known)."""
    here = {str(one.get("metric")): one for one in region.get("quotas") or ()}
    everywhere = {str(one.get("metric")): one for one in project.get("quotas") or ()}
    cpus = cpus or (prices.shape(spec.machine_type) or (1, 0.0))[0]
    needed: dict[str, float] = {"CPUS": cpus, "SSD_TOTAL_GB": spec.data_disk_gb + spec.boot_disk_gb}
    series = f"{spec.series.upper()}_CPUS"
    if series in here:
        needed[series] = cpus
    if spec.spot and float(here.get("PREEMPTIBLE_CPUS", {}).get("limit", 0)):
        # Without a quota of their own, spot machines use that of the others.
        needed = {"PREEMPTIBLE_CPUS": cpus, "SSD_TOTAL_GB": needed["SSD_TOTAL_GB"]}
    if settings.own_network or spec.external_ip:
        needed["IN_USE_ADDRESSES"] = 1  # the NAT's, or the machine's own
    found = [
        _quota(metric, one, need, where, settings)
        for of, where in ((everywhere, "all regions"), (here, settings.region))
        for metric, need in {"CPUS_ALL_REGIONS": float(cpus), **needed}.items()
        if (one := of.get(metric)) is not None
    ]
    if series not in here and spec.series not in WITHOUT_QUOTA:
        text = f"How many vCPUs of series {spec.series.upper()} you may have is not told here."
        found.append(Problem(Severity.WARN, "quota", text, quota_link(settings.project)))
    bad = [one for one in found if one.severity is not Severity.PASS]
    if bad or not found:
        return bad
    names = sorted({one.detail.partition(" ")[0] for one in found})
    text = f"There is room for {spec.machine_type} ({', '.join(names)})."
    return [Problem(Severity.PASS, "quota", text)]


def _quota(metric: str, one: Json, need: float, where: str, settings: Settings) -> Problem:
    limit, usage = float(one.get("limit", 0)), float(one.get("usage", 0))
    text = f"{metric} in {where}: {usage:g} of {limit:g} are used."
    if limit - usage >= need:
        return Problem(Severity.PASS, "quota", text)
    # A machine that is stopped or deleted makes room; a limit that is too small does not change by itself.
    severity = Severity.FAIL if limit < need else Severity.WARN
    text = f"{text[:-1]}; {need:g} are needed."
    return Problem(severity, "quota", text, f"Raise it: {quota_link(settings.project)}")


async def _network(api: Api, settings: Settings) -> Problem:
    found = await _ask(
        api, "networks", f"Looking for the network {settings.network}", network=settings.network
    )
    if isinstance(found, NotFound):
        if settings.own_network:
            text = f"{settings.network} will be made by `fleet provision`, with a NAT and one firewall rule."
            return Problem(Severity.PASS, "network", text)
        command = f"gcloud compute networks list --project {settings.project}"
        return Problem(Severity.FAIL, "network", f"There is no network {settings.network}.", command=command)
    if isinstance(found, OffloadError):
        return failed("network", found)
    return Problem(Severity.PASS, "network", f"{settings.network} is there.")
