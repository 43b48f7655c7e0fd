"""Compute Engine keeps the provider's contract, against the simulator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contracts.provider import Harness, ProviderContract
from tests.support.gce_server import NEVER, Simulator, endpoint, provider


class TestGce(ProviderContract):
    @pytest.fixture
    def harness(self) -> Iterator[Harness]:
        with endpoint(Simulator(seconds=NEVER)) as simulator:

            async def settle() -> None:
                simulator.settle()

            yield Harness(provider(), "worker", {"machine_type": "n2-standard-4"}, settle)
