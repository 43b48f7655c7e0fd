"""The ground for lifecycle tests: a cloud in memory whose time passes by looks."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

from django.test import TransactionTestCase

from jobs.models import Worker
from jobs.workers import provision as provisioning
from jobs.workers import waiting
from tests.support import memory_cloud
from tests.support.memory_cloud import MemoryCloud

_numbers = itertools.count(1)


class Died(BaseException):
    """Stands for kill -9: nothing in the product catches it."""


class CloudTest(TransactionTestCase):
    """Every test gets a cloud of its own; accepted requests are carried out after two looks."""

    def setUp(self) -> None:
        self.cloud_name = f"test-{next(_numbers)}"
        self.cloud: MemoryCloud = memory_cloud.cloud(self.cloud_name)
        self.cloud.pace = 2
        self.addCleanup(memory_cloud._CLOUDS.pop, self.cloud_name)
        self.root = self.enterContext(tempfile.TemporaryDirectory())
        self.steps: list[str] = []
        pause, waiting.FIRST_PAUSE = waiting.FIRST_PAUSE, 0.01
        self.addCleanup(setattr, waiting, "FIRST_PAUSE", pause)

    def config(self, **more: Any) -> dict[str, Any]:
        spec = {"size": "small"} | more.pop("spec", {})
        return {"cloud": self.cloud_name, "zones": ["zone-a", "zone-b"], "spec": spec} | more

    async def provision(self, name: str = "box", **more: Any) -> tuple[Worker, bool]:
        return await provisioning.provision(
            name, "memory", str(Path(self.root)), self.config(**more), self.steps.append
        )

    async def row(self, name: str = "box") -> Worker:
        return await Worker.objects.aget(name=name)
