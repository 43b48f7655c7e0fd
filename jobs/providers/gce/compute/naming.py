"""What things are called at Google, and how we know our own."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

from jobs.errors import UsageError

SCHEMA = "1"
OWNER, HOME, REPOSITORY, SCHEMA_LABEL, WORKER = (
    "offload-owner",
    "offload-home",
    "offload-repository",
    "offload-schema",
    "offload-worker",
)
TAG = "offload-worker"  # the network tag that the firewall rule of ssh is for
DEVICE = "offload-data"  # the guest sees /dev/disk/by-id/google-offload-data
NETWORK = "offload"
_DESCRIPTION = re.compile(r"Made by Offload(?: for ([a-z0-9_-]+))?(?: in home ([a-z0-9_-]+))?\.\Z")
_NAME = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?\Z")  # RFC 1035, as the API asks for
_LONGEST = 63
_REQUESTS = uuid.UUID("6f1f60b4-53a8-5a55-9d0a-3a1d4c1d7a0e")


def check_name(name: str) -> str:
    """Return a machine's name. Raises `UsageError` when the API, or its disk's name, would not allow it."""
    if not _NAME.match(name) or len(data_disk(name)) > _LONGEST:
        raise UsageError(
            f"{name!r} cannot be the name of a machine at Google.",
            hint=f"Use lower-case letters, digits, hyphens; at most {_LONGEST - len(data_disk(''))} signs.",
        )
    return name


def data_disk(name: str) -> str:
    """Return the name of a machine's data disk."""
    return f"{name}-data"


def region_of(zone: str) -> str:
    """Return the region of a zone: `us-central1` of `us-central1-a`."""
    return zone.rpartition("-")[0]


def last(link: str) -> str:
    """Return the last part of a resource's link: the name in it."""
    return link.rpartition("/")[2]


def attached_to(disk: Mapping[str, Any]) -> list[str]:
    """Return the names of the machines that a disk is attached to."""
    return [last(str(one)) for one in disk.get("users") or ()]


def label(text: str) -> str:
    """Return `text` as the API takes it for a label's value: at most 63 of `a-z 0-9 _ -`."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-")[:_LONGEST]


def labels(name: str, owner: str, repository: str, home_id: str = "") -> dict[str, str]:
    """Return the labels of everything that is made for a machine."""
    found = {
        SCHEMA_LABEL: SCHEMA,
        OWNER: label(owner),
        HOME: label(home_id),
        REPOSITORY: label(repository),
        WORKER: label(name),
    }
    return {key: value for key, value in found.items() if value}


def is_ours(resource: Mapping[str, Any], owner: str) -> bool:
    """Return whether a resource carries our labels, for this owner (empty: for anybody)."""
    found = resource.get("labels") or {}
    return SCHEMA_LABEL in found and (not owner or found.get(OWNER) == label(owner))


def description(owner: str, home_id: str = "") -> str:
    """Return what marks as ours the things that carry no labels: networks, routers, rules, policies."""
    whose = f" for {label(owner)}" if label(owner) else ""
    where = f" in home {label(home_id)}" if label(home_id) else ""
    return f"Made by Offload{whose}{where}."


def made_for(resource: Mapping[str, Any]) -> str | None:
    """Return the owner's label in a description of ours (empty: nobody's), or None for one that is not."""
    found = _DESCRIPTION.match(str(resource.get("description") or ""))
    return (found[1] or "") if found else None


def home_of(resource: Mapping[str, Any]) -> str:
    """Return the id of the Offload home that made a resource; empty when it does not say."""
    labelled = (resource.get("labels") or {}).get(HOME)
    found = _DESCRIPTION.match(str(resource.get("description") or ""))
    return str(labelled or (found[2] if found else "") or "")


def request_id(*intent: str) -> str:
    """Return the UUID of an intent: the same request sent twice is carried out once."""
    return str(uuid.uuid5(_REQUESTS, "|".join(intent)))
