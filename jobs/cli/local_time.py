"""The user's time zone, in which the command line shows times. Django sets UTC for the whole process."""

from __future__ import annotations

import os
from datetime import UTC, datetime, tzinfo

_SYSTEM = "/etc/localtime"
_named: str | None = None


def remember_zone() -> None:
    """Note TZ as the user set it. To be called before Django's settings are loaded."""
    global _named
    _named = os.environ.get("TZ")


def local_zone() -> tzinfo:
    """Return the zone that TZ names, else that of the system; UTC when it is unknown."""
    from zoneinfo import ZoneInfo

    try:
        if _named is not None:
            return ZoneInfo(_named.lstrip(":") or "UTC")
        with open(_SYSTEM, "rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError, LookupError):
        return UTC


def local_clock() -> str:
    """Return the time of the day, to the second."""
    return f"{datetime.now(local_zone()):%H:%M:%S}"
