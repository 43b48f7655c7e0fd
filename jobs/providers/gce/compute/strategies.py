"""The names of the ways to a machine, and what each needs to know."""

from __future__ import annotations

from typing import Any

from jobs.errors import NotConfigured

EXTERNAL = "external"
STRATEGIES = ("iap", "internal", EXTERNAL)
AUTO = "auto"  # each of them, in that order
IAP_TUNNEL = (
    "gcloud",
    "compute",
    "start-iap-tunnel",
    "{vm}",
    "22",
    "--listen-on-stdin",
    "--project={project}",
    "--zone={zone}",
    "--verbosity=warning",
)
HOST_PATTERN = "nic0.{vm}.{zone}.c.{project}.{suffix}"


def read_strategies(value: Any) -> tuple[str, ...]:
    """Return strategies in order: of one, of several (a list, or with commas), of `auto`.

    Raises `NotConfigured`.
    """
    names = value.split(",") if isinstance(value, str) else value
    found = tuple(dict.fromkeys(str(name).strip() for name in names if str(name).strip()))
    if found == (AUTO,):
        return STRATEGIES
    unknown = [name for name in found if name not in STRATEGIES]
    if unknown or not found:
        raise NotConfigured(
            f"The worker has {value!r} as strategy.",
            hint=f"Known: {', '.join(STRATEGIES)}; several with commas, or {AUTO}.",
        )
    return found
