"""System checks: what would make the dashboard wrong or unsafe, said before it starts."""

from __future__ import annotations

import ipaddress
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from offload_web import packages


@register(Tags.staticfiles)
def packages_are_installed(**_: Any) -> list[CheckMessage]:
    """Check that npm has brought what pages load."""
    missing = packages.missing_files()
    if not missing:
        return []
    return [
        Error(
            f"{len(missing)} browser files are missing, {missing[0]} for one.",
            hint="Run `make setup` (or `npm ci`).",
            id="offload.E001",
        )
    ]


@register(Tags.security)
def debug_stays_at_home(**_: Any) -> list[CheckMessage]:
    """Check that debug pages, which show settings, are never served to other machines."""
    try:
        at_home = ipaddress.ip_address(settings.OFFLOAD.host).is_loopback
    except ValueError:
        at_home = settings.OFFLOAD.host == "localhost"
    if settings.DEBUG and not at_home:
        return [
            Error(
                f"OFFLOAD_DEBUG is on while `serve` listens on {settings.OFFLOAD.host}.",
                hint="Turn debug off, or listen on 127.0.0.1.",
                id="offload.E002",
            )
        ]
    if not at_home:
        return [
            Warning(
                f"`serve` listens on {settings.OFFLOAD.host}: other machines can reach the dashboard "
                "over unencrypted HTTP.",
                hint="Listen on 127.0.0.1 and reach it through an ssh tunnel.",
                id="offload.W001",
            )
        ]
    return []
