"""The window of flow control."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from terminals.flow import HIGH, MAX_HIGH, FlowWindow


def test_it_fills_above_high_and_opens_at_half() -> None:
    window = FlowWindow()
    window.add(HIGH)
    assert window.backlog == HIGH
    window.add(1)
    assert window.full
    assert window.acknowledge(HIGH // 2)
    assert not window.open
    assert window.acknowledge(HIGH // 2 + 1)
    assert window.open


def test_an_acknowledgement_of_the_future_is_refused() -> None:
    window = FlowWindow()
    window.add(10)
    assert not window.acknowledge(11)
    assert window.backlog == 10


def test_an_old_acknowledgement_takes_nothing_back() -> None:
    window = FlowWindow()
    window.add(10)
    window.acknowledge(8)
    window.acknowledge(3)
    assert window.drawn == 8


def test_the_window_grows_with_distance_and_not_with_our_own_queue() -> None:
    window = FlowWindow()
    window.measured(0.001)
    assert window.high == HIGH
    window.measured(2.0)  # queued behind our own output
    assert window.high == HIGH
    far = FlowWindow()
    far.measured(0.09)
    assert far.high == 3 * HIGH


@given(st.lists(st.floats(0, 100), min_size=1))
def test_the_window_has_bounds(trips: list[float]) -> None:
    window = FlowWindow()
    for trip in trips:
        window.measured(trip)
        assert HIGH <= window.high <= MAX_HIGH
