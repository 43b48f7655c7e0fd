"""Where Google's services answer. The environment moves each of them, exactly as it moves gcloud's."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from jobs.errors import NotConfigured

# Service -> its address when nothing is said, as in gcloud's own table (`api_endpoint_overrides`).
ADDRESSES: Mapping[str, str] = {
    "cloudbilling": "https://cloudbilling.googleapis.com",
    "cloudresourcemanager": "https://cloudresourcemanager.googleapis.com",
    "iam": "https://iam.googleapis.com",
    "openidconnect": "https://openidconnect.googleapis.com",
    "oslogin": "https://oslogin.googleapis.com",
    "serviceusage": "https://serviceusage.googleapis.com",
}


def variable(service: str) -> str:
    """Return the environment variable that moves a service."""
    return f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{service.upper()}"


def override(service: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the address that the environment names for a service, without a slash at its end, or None.

    Raises `NotConfigured` for plain http to anything but loopback, and for what is no URL.
    """
    name = variable(service)
    value = (os.environ if environ is None else environ).get(name, "").strip()
    if not value:
        return None
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NotConfigured(f"{name} is {value!r}, which is no URL.")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise NotConfigured(
            f"{name} is {value!r}: requests would cross the network in the clear.",
            hint="Use https, or an address of loopback.",
        )
    return value.rstrip("/")


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its name or address alone; nothing is looked up."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return found.is_loopback or found.is_unspecified


def is_local(address: str | None) -> bool:
    """Return whether an address is plain http on this machine: no credentials go there."""
    return address is not None and address.startswith("http:")


def address(service: str) -> str | None:
    """Return where to ask a service.

    None when the Compute API is one on this machine and this service is not: an emulator's project is
    unknown to the real services, and nothing about it goes to them.
    """
    moved = override(service)
    if moved is None and is_local(override("compute")):
        return None
    return moved or ADDRESSES[service]
