"""The hostile Compute API, as the endpoint of the process under test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from jobs.providers.gce.compute import api, retry
from jobs.providers.gce.provider import GceCosProvider
from jobs.simulator.server import Simulator

__all__ = ["PROJECT", "ZONE", "Simulator", "config", "endpoint", "provider"]

PROJECT, ZONE = "demo-project", "us-central1-a"
NEVER = 3600.0  # seconds an operation takes until the test says `settle`


@contextmanager
def endpoint(simulator: Simulator) -> Iterator[Simulator]:
    """Serve, and let every client of this process go there."""
    with pytest.MonkeyPatch.context() as patch, simulator:
        for name, value in simulator.overrides.items():
            patch.setenv(name, value)
        patch.setattr(retry, "FIRST_PAUSE", 0.01)
        try:
            yield simulator
        finally:
            api.close_clients()


def config(**changes: Any) -> dict[str, Any]:
    """Return a worker's configuration."""
    return {"project": PROJECT, "zone": ZONE, "network": "default", "owner": "Me", **changes}


def provider(**changes: Any) -> GceCosProvider:
    """Return a provider for the simulated project."""
    return GceCosProvider(config(**changes))
