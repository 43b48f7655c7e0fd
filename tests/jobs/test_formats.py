"""Durations, ages and money as pages and command line show them."""

from datetime import UTC, datetime, timedelta

from jobs.formats import format_age, format_duration, format_money


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


def test_money() -> None:
    assert [format_money(amount, "USD") for amount in (0, 0.001, 0.4166, 1234.5)] == [
        "0.00 USD", "less than 0.01 USD", "0.42 USD", "1234.50 USD",
    ]  # fmt: skip
