"""Times as data."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import overload


@overload
def utc(moment: datetime) -> str: ...
@overload
def utc(moment: None) -> None: ...
def utc(moment: datetime | None) -> str | None:
    """Return a moment in RFC 3339, in UTC with a Z: `2026-01-31T12:00:00Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None
