"""What every provider promises. A subclass gives the fixture `harness`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from jobs.errors import NotFound, OffloadError, UsageError
from jobs.providers import registry
from jobs.providers.base import Instance, InstanceState, Problem, Severity, WorkerProvider
from jobs.transport.endpoint import LocalEndpoint, SshEndpoint


async def _at_once() -> None:
    """Nothing takes time here."""


@dataclass
class Harness:
    """A provider under test. `name`: a machine that may exist; `settle` lets accepted requests happen.

    `makes_machines`: it can stop and delete them; else it refuses that.
    """

    provider: WorkerProvider
    name: str
    spec: Mapping[str, Any] = field(default_factory=dict)
    settle: Callable[[], Awaitable[None]] = _at_once
    makes_machines: bool = True

    async def state(self) -> InstanceState | None:
        instance = await self.provider.get(self.name)
        return instance.state if instance else None

    async def made(self) -> Instance:
        await self.provider.create(self.spec, self.name)
        await self.settle()
        instance = await self.provider.get(self.name)
        assert instance is not None
        return instance


class ProviderContract:
    async def test_registry_knows_it(self, harness: Harness) -> None:
        assert registry.find(harness.provider.kind) is type(harness.provider)

    async def test_absent_is_none_and_success(self, harness: Harness) -> None:
        assert await harness.provider.get("no-such-machine") is None
        await harness.provider.stop("no-such-machine")
        await harness.provider.delete("no-such-machine")
        with pytest.raises(NotFound):
            await harness.provider.start("no-such-machine")

    async def test_create_is_idempotent_and_runs_in_the_end(self, harness: Harness) -> None:
        await harness.provider.create(harness.spec, harness.name)
        await harness.provider.create(harness.spec, harness.name)
        assert await harness.state() in (InstanceState.CREATING, InstanceState.RUNNING)
        await harness.settle()
        assert await harness.state() == InstanceState.RUNNING
        await harness.provider.create(harness.spec, harness.name)
        assert [one.name for one in await harness.provider.list()].count(harness.name) == 1

    async def test_bad_spec_is_refused_before_anything_is_made(self, harness: Harness) -> None:
        before = list(await harness.provider.list())
        with pytest.raises(UsageError):
            await harness.provider.create({"no such field": 1}, "another-machine")
        assert list(await harness.provider.list()) == before

    async def test_list_and_get_agree(self, harness: Harness) -> None:
        instance = await harness.made()
        assert instance in await harness.provider.list()

    async def test_start_of_a_running_machine_does_nothing(self, harness: Harness) -> None:
        await harness.made()
        await harness.provider.start(harness.name)
        await harness.settle()
        assert await harness.state() == InstanceState.RUNNING

    async def test_stop_and_start(self, harness: Harness) -> None:
        await harness.made()
        if not harness.makes_machines:
            with pytest.raises(OffloadError):
                await harness.provider.stop(harness.name)
            assert await harness.state() == InstanceState.RUNNING
            return
        await harness.provider.stop(harness.name)
        await harness.provider.stop(harness.name)
        assert await harness.state() in (InstanceState.STOPPING, InstanceState.STOPPED)
        await harness.settle()
        assert await harness.state() == InstanceState.STOPPED
        await harness.provider.stop(harness.name)
        await harness.provider.start(harness.name)
        await harness.provider.start(harness.name)
        await harness.settle()
        assert await harness.state() == InstanceState.RUNNING

    async def test_delete(self, harness: Harness) -> None:
        await harness.made()
        if not harness.makes_machines:
            with pytest.raises(OffloadError):
                await harness.provider.delete(harness.name)
            assert await harness.state() == InstanceState.RUNNING
            return
        await harness.provider.delete(harness.name)
        await harness.provider.delete(harness.name)
        assert await harness.state() in (InstanceState.DELETING, None)
        await harness.settle()
        assert await harness.state() is None
        assert harness.name not in [one.name for one in await harness.provider.list()]
        await harness.provider.delete(harness.name)

    async def test_endpoint_is_pure(self, harness: Harness) -> None:
        instance = await harness.made()
        endpoint = harness.provider.endpoint(instance)
        assert isinstance(endpoint, (LocalEndpoint, SshEndpoint))
        assert endpoint == harness.provider.endpoint(instance)
        assert hash(endpoint) == hash(harness.provider.endpoint(instance))
        assert next(iter(harness.provider.ways(instance).values())) == endpoint

    async def test_check_says_what_it_looked_at(self, harness: Harness) -> None:
        problems = await harness.provider.check()
        assert problems
        for problem in problems:
            assert isinstance(problem, Problem)
            assert problem.subject
            assert problem.detail
            assert problem.severity is Severity.PASS or problem.remedy or problem.command
