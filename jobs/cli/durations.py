"""Durations as people type them."""

from __future__ import annotations

import re

from jobs.errors import UsageError

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
_LONGEST = 30 * 86400.0


def parse_duration(text: str) -> float:
    """Return seconds for `90`, `90s`, `10m`, `1.5h`; at most 30 days. Raises `UsageError`."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smh]?)", text.strip())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0 < seconds <= _LONGEST:
        raise UsageError(f"{text!r} is not a duration.", hint="Write 90s, 10m or 1.5h.")
    return seconds
