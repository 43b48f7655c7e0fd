"""Durations, ages and amounts of money as text: one format for pages and command line. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

_AGES = ((86400, "d"), (3600, "h"), (60, "min"))


def format_duration(seconds: float | None) -> str:
    """Return a duration in its two largest units: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`.

    Clocks of two machines differ: a negative duration is shown as zero. None gives an empty text.
    """
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_age(moment: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago a moment was, in its largest unit: `4 s ago`, `3 h ago`; `never` without one."""
    if moment is None:
        return "never"
    seconds = max(0, int(((now or datetime.now(UTC)) - moment).total_seconds()))
    for size, unit in _AGES:
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def format_clock(
    moment: datetime, zone: tzinfo = UTC, now: datetime | None = None, *, seconds: bool = False
) -> str:
    """Return a moment as a clock in that zone shows it: `12:00 UTC`; with the date on another day.

    `seconds`: show them on the same day. Only UTC is named: another zone is the reader's own.
    """
    moment = moment.astimezone(zone)
    is_today = moment.date() == (now or datetime.now(UTC)).astimezone(zone).date()
    form = "%Y-%m-%d %H:%M" if not is_today else "%H:%M:%S" if seconds else "%H:%M"
    return f"{moment:{form}}{' UTC' if zone is UTC else ''}"


def format_until(moment: datetime | None, zone: tzinfo = UTC, now: datetime | None = None) -> str:
    """Return when something ends: `until 12:00:37 UTC`; empty when unknown."""
    return "" if moment is None else f"until {format_clock(moment, zone, now, seconds=True)}"


def format_money(amount: float, currency: str) -> str:
    """Return an amount with two decimals: `0.42 USD`, `less than 0.01 USD`."""
    return f"less than 0.01 {currency}" if 0 < amount < 0.005 else f"{amount:.2f} {currency}"
