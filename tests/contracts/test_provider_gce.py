"""Compute Engine keeps the provider's contract, against the simulator and against one that offers little."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobs.errors import NotFound
from jobs.providers.gce.provider import GceCosProvider
from jobs.simulator.lean import LeanSimulator, OddSimulator
from tests.contracts.provider import Harness, ProviderContract
from tests.support.gce_server import NEVER, Simulator, endpoint, provider


class TestGce(ProviderContract):
    @pytest.fixture
    def harness(self) -> Iterator[Harness]:
        with endpoint(Simulator(seconds=NEVER)) as simulator:

            async def settle() -> None:
                simulator.settle()

            yield Harness(provider(), "worker", {"machine_type": "n2-standard-4"}, settle)


@pytest.mark.parametrize("kind", [LeanSimulator, OddSimulator])
class TestGceOfLessOffer(ProviderContract):
    @pytest.fixture
    def harness(self, kind: type[LeanSimulator]) -> Iterator[Harness]:
        with endpoint(kind()):
            yield Harness(provider(), "worker", {"machine_type": "n2-standard-4"})

    async def test_what_the_endpoint_lacks_is_no_guest_and_no_disk(self, harness: Harness) -> None:
        """A machine without a guest is told from one whose guest has not answered yet."""
        await harness.made()
        assert isinstance(harness.provider, GceCosProvider)
        assert not await harness.provider.has_guest(harness.name)
        assert await harness.provider.disk(harness.name) is None

    async def test_a_missing_method_is_named(self, harness: Harness) -> None:
        await harness.made()
        assert isinstance(harness.provider, GceCosProvider)
        with pytest.raises(NotFound, match=r"does not offer instances\.getSerialPortOutput"):
            await harness.provider.serial(harness.name)
