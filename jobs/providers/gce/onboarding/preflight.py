"""Can this machine be made? Asked before anything is: what is wrong is said while nothing is half-made."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.errors import NotConfigured, NotFound, QuotaExceeded, UsageError
from jobs.providers.base import Severity
from jobs.providers.gce.compute import adoption, naming
from jobs.providers.gce.compute.adoption import Adopted
from jobs.providers.gce.compute.api import Api, endpoint_override
from jobs.providers.gce.compute.errors import quota_link
from jobs.providers.gce.compute.template import Settings, Spec, read_settings, read_spec
from jobs.providers.gce.identity.account import Account
from jobs.providers.gce.identity.account_check import about_identity
from jobs.providers.gce.onboarding import place_check
from jobs.providers.gce.onboarding.observed import Seen, Wanted


@dataclass(frozen=True)
class Checked:
    """What can be made.

    `zones`: those that have the machine's type, in order; with a data disk that this home kept only its zone,
    wherever that is. `adopted`: what a machine of this name would take over from another Offload home;
    `outside`: what it would not, as its zone is none that was asked for.
    """

    zones: list[str]
    adopted: list[Adopted]
    outside: list[Adopted]


async def preflight(name: str, config: Mapping[str, Any], say: Callable[[str], None]) -> Checked:
    """Return where a machine of this configuration can be made, and what it would take over.

    Raises what stands against it: `UsageError` (machine type, name or disk taken), `NotConfigured`
    (credentials, project, API, billing, zone, network), `QuotaExceeded`.
    """
    naming.check_name(name)
    spec = read_spec({key: value for key, value in (config.get("spec") or {}).items() if key != "zone"})
    places = [read_settings({**config, "zone": zone}) for zone in config["zones"]]
    project = places[0].project
    api = Api(project, endpoint_override())
    account: dict[str, Any] = {}
    with contextlib.suppress(NotFound):
        account = await api.call("projects", "get", f"Reading the project {project}")
    outside: list[Adopted] = []
    if not config.get("disk_zone"):
        zones = [one.zone for one in places]
        kept, outside = await adoption.disks(config, places[0], name, zones)
        if kept and zones != [kept]:
            say(f"The data disk of {name} is in {kept}, and so its machine is made there.")
            places = [read_settings({**config, "zone": kept})]
    await asyncio.gather(*(_require_zone(api, one) for one in places))
    places = await _with_type(api, places, spec, say)
    _, *found = await asyncio.gather(
        _require_base(api, places[0], spec, config, say),
        *(adoption.look(config, one, name) for one in places),
    )
    await _require_quota(api, account, places, spec)
    return Checked([one.zone for one in places], [one for part in found for one in part or ()], outside)


async def _require_zone(api: Api, settings: Settings) -> None:
    try:
        await api.call("zones", "get", f"Looking for the zone {settings.zone}", zone=settings.zone)
    except (UsageError, NotConfigured) as error:
        if "zone" not in error.message.lower():
            raise
        raise NotConfigured(
            f"There is no zone {settings.zone} for {settings.project}.",
            hint=f"See `gcloud compute zones list --project {settings.project}`.",
        ) from error


async def _with_type(
    api: Api, places: list[Settings], spec: Spec, say: Callable[[str], None]
) -> list[Settings]:
    """Return the places that have the machine type."""

    async def lacks(settings: Settings) -> bool:
        doing = f"Looking for {spec.machine_type} in {settings.zone}"
        try:
            await api.call("machine_types", "get", doing, zone=settings.zone, machine_type=spec.machine_type)
        except UsageError:
            return True
        return False

    found = await asyncio.gather(*(lacks(one) for one in places))
    left = [one for one, missing in zip(places, found, strict=True) if not missing]
    without = ", ".join(one.zone for one, missing in zip(places, found, strict=True) if missing)
    if not left:
        raise UsageError(
            f"There is no {spec.machine_type} in {without}.",
            hint=f"See `gcloud compute machine-types list --zones {places[0].zone} --project "
            f"{places[0].project}`.",
        )
    if without:
        say(f"Left out: {without} has no {spec.machine_type}.")
    return left


async def _require_base(
    api: Api, settings: Settings, spec: Spec, config: Mapping[str, Any], say: Callable[[str], None]
) -> None:
    """Look at what all places have in common: network and identity."""
    await asyncio.gather(_require_network(api, settings), _require_identity(settings, spec, config, say))


async def _require_identity(
    settings: Settings, spec: Spec, config: Mapping[str, Any], say: Callable[[str], None]
) -> None:
    """Raise `NotConfigured` when the service account is none that machines can have; warn when one lacks."""
    account = Account(settings.project)
    image = str((config.get("container") or {}).get("image") or "")
    seen, wanted = Seen(), Wanted(settings, spec, image=image)
    try:
        await about_identity(seen, wanted, account)
    finally:
        account.close()
    for one in seen.problems:
        if one.severity is Severity.FAIL:
            remedy = f"{one.remedy} `{one.command}`".strip() if one.command else one.remedy
            raise NotConfigured(one.detail, hint=f"{remedy}; or see `manage.py doctor --gcp`.")
        if one.severity is Severity.WARN:
            say(f"Warning: {one.detail} See `manage.py doctor --gcp`.")


async def _require_network(api: Api, settings: Settings) -> None:
    if settings.own_network:
        return
    try:
        await api.call(
            "networks", "get", f"Looking for the network {settings.network}", network=settings.network
        )
    except NotFound as error:
        raise NotConfigured(
            f"There is no network {settings.network} in {settings.project}.",
            hint=f"See `gcloud compute networks list --project {settings.project}`; without --network one is "
            "made.",
        ) from error


async def _require_quota(api: Api, account: dict[str, Any], places: list[Settings], spec: Spec) -> None:
    """Raise `QuotaExceeded` when no region has room for the machine."""
    said: list[str] = []
    regions = {one.region: one for one in reversed(places)}
    for region, settings in regions.items():
        try:
            found = await api.call("regions", "get", f"Reading the quotas of {region}", region=region)
        except NotFound:
            return
        bad = [
            one
            for one in place_check.quotas(account, found, settings, spec, 0)
            if one.detail.endswith("needed.")
        ]
        if not any(one.severity is Severity.FAIL for one in bad):
            return  # a limit that others use up now may be free when it is asked for
        said += [one.detail for one in bad if one.severity is Severity.FAIL]
    raise QuotaExceeded(
        f"Your quota is too small for a {spec.machine_type}: {' '.join(dict.fromkeys(said))}",
        hint=f"Raise it at {quota_link(places[0].project)}, or take a smaller --machine-type.",
    )
