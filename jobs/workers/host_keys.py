"""The host keys that are pinned for workers."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.models import Worker
from jobs.transport.host_keys import Pin, all_pins, unpin
from jobs.workers.connection import provider_of


def pins_of(worker: Worker) -> list[Pin]:
    """Return every host key that is pinned in the worker's file of them; none for a local worker."""
    path = getattr(provider_of(worker), "known_hosts", None)
    return all_pins(path) if path is not None else []


def forget_pins(worker: Worker, pins: Sequence[Pin]) -> None:
    """Take pinned host keys back."""
    path = getattr(provider_of(worker), "known_hosts", None)
    if path is not None:
        unpin(path, pins)
