"""How a machine is reached: through Google's identity-aware proxy, inside its network, or by its address."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jobs.providers.base import Instance
from jobs.providers.gce.compute.strategies import EXTERNAL
from jobs.providers.gce.compute.template import Settings
from jobs.transport.endpoint import ProxyWords, SshEndpoint

# What of a machine's data decides where it is reached.
NEEDED = ("id", "zone", "internal_ip", "external_ip")

# Codes of the proxy: https://cloud.google.com/iap/docs/faq. As gcloud's users quote them: `Error while
# connecting [4003: 'failed to connect to backend']`, and in the same form 4010 'destination read failed',
# 4033 'not authorized', 4047 'Failed to lookup instance'. Permission first: it is never a broken line.
TUNNEL_WORDS = (
    ProxyWords(
        r"\b4033\b|not authorized|permission.denied|PERMISSION_DENIED|required '?iap\.",
        "Your account needs roles/iap.tunnelResourceAccessor in the project; see `manage.py offload setup`.",
        refused=True,
    ),
    ProxyWords(
        r"max retries exceeded|name resolution|network is unreachable|connection (?:refused|reset|timed out)",
        "Is this machine online?",
    ),
    ProxyWords(
        r"reauthentication|do(?:es)? not currently have|gcloud auth login|refreshing your current auth"
        r"|default credentials were not found|invalid_grant",
        "Log in again: `gcloud auth login`.",
        refused=True,
    ),
    ProxyWords(
        r"SERVICE_DISABLED|iap\.googleapis\.com|API has not been used",
        "Enable the proxy: `gcloud services enable iap.googleapis.com`.",
        refused=True,
    ),
    ProxyWords(
        r"\b4003\b|failed to connect to backend",
        "The machine does not listen yet, or no firewall rule lets 35.235.240.0/20 reach its port 22.",
    ),
    ProxyWords(
        r"\b4010\b|destination read failed",
        "The machine hung up: it is booting or going down, or its ssh is broken (`manage.py fleet logs`).",
    ),
    ProxyWords(
        r"\b4047\b|failed to lookup instance",
        "The machine is stopped or gone: see `manage.py fleet ls`.",
    ),
)


def ways(settings: Settings, home: Path, instance: Instance) -> Mapping[str, SshEndpoint]:
    """Return where the machine is reached by each strategy of the configuration, in its order. Pure.

    `config_host` is `compute.<id>` (as gcloud has it) in all of them: the pinned keys are those of this one
    machine, and not of a later one with the same name or address. Under `iap` there is no address. Without
    a public address, `external` is left out where there are others.
    """
    names = settings.strategies
    if not instance.data.get("external_ip"):
        names = tuple(name for name in names if name != EXTERNAL) or names
    return {name: _endpoint(settings, home, instance, name) for name in names}


def _endpoint(settings: Settings, home: Path, instance: Instance, strategy: str) -> SshEndpoint:
    zone = str(instance.data.get("zone") or settings.zone)
    facts = {"vm": instance.name, "zone": zone, "project": settings.project, "suffix": settings.suffix}
    host: str | None = None
    proxy: tuple[str, ...] | None = None
    if strategy == "iap":
        proxy = tuple(part.format(**facts) for part in settings.tunnel)
    elif strategy == "internal":
        host = settings.host_pattern.format(**facts)
    else:
        host = str(instance.data.get("external_ip") or instance.data.get("internal_ip") or "") or None
    return SshEndpoint(
        config_host=f"compute.{instance.data.get('id') or instance.name}",
        host=host,
        port=settings.port,
        user=settings.user or None,
        key=Path(settings.key).expanduser() if settings.key else None,
        known_hosts=home / "known_hosts",
        proxy_command=proxy,
        pin_new_host=False,  # the machine publishes its keys: see `host_keys`
        proxy_words=TUNNEL_WORDS if proxy else (),
    )
