"""Durations: as users type them, and as every interface shows them."""

from __future__ import annotations

import re

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = 30 * 86400.0


def read_seconds(text: str) -> float:
    """Return the seconds of `90`, `90s`, `10m`, `1.5h`; at most 30 days. Raises `ValueError`."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd]?)", text.strip())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0 < seconds <= _LONGEST:
        raise ValueError(f"{text!r} is not a duration. Write 90s, 10m or 1.5h.")
    return seconds
