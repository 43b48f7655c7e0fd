"""Durations, ages and money as pages and command line show them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from jobs.formats import format_age, format_clock, format_duration, format_money, format_until


def test_durations() -> None:
    shown = [format_duration(s) for s in (None, -0.04, 0.04, 9.9, 59.4, 59.6, 65, 3599.4, 7800)]
    assert shown == [
        "", "0.0 s", "0.0 s", "9.9 s", "59 s", "1 min 00 s", "1 min 05 s", "59 min 59 s", "2 h 10 min",
    ]  # fmt: skip


def test_ages() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    seconds = (-3, 0, 59, 60, 7200, 200_000)
    shown = [format_age(now - timedelta(seconds=s), now) for s in seconds]
    assert shown == ["0 s ago", "0 s ago", "59 s ago", "1 min ago", "2 h ago", "2 d ago"]
    assert format_age(None) == "never"


def test_clocks() -> None:
    moment = datetime(2026, 1, 2, 20, 30, 15, tzinfo=UTC)
    assert format_clock(moment, now=moment) == "20:30 UTC"
    assert format_clock(moment, ZoneInfo("Asia/Tokyo"), moment) == "05:30"
    assert format_clock(moment, ZoneInfo("Asia/Tokyo"), moment - timedelta(hours=9)) == "2026-01-03 05:30"
    assert format_until(moment, now=moment) == "until 20:30:15 UTC"
    assert format_until(None) == ""


def test_money() -> None:
    assert [format_money(amount, "USD") for amount in (0, 0.001, 0.4166, 1234.5)] == [
        "0.00 USD", "less than 0.01 USD", "0.42 USD", "1234.50 USD",
    ]  # fmt: skip
