"""The ground for tests with a container: a worker whose jobs run in one, on a real engine."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jobs import execution
from jobs.models import Job, Worker
from tests.jobs.execution.base import ExecutionTest
from tests.support.docker_engine import DockerEngine


@pytest.mark.container
@pytest.mark.usefixtures("engine_of_class")
class ContainerTest(ExecutionTest):
    """The worker `box` is this machine with a container of its own; `shop` is a repository on it."""

    engine: DockerEngine
    isolation = "worker"

    def setUp(self) -> None:
        super().setUp()
        os.chmod(self.tmp, 0o755)
        self.root = Path(self.root)
        self.name = f"box-{self.tmp.name.replace('_', 'x')}"  # an image is named so too
        self.addCleanup(self._remove_containers)
        self.box = self.worker("box", self.container())

    def container(self, **changes: Any) -> dict[str, Any]:
        """Return a container configuration."""
        return {
            "image": self.engine.image,
            "engine": list(self.engine.command),
            "network": "host",
            "name": self.name,
            "isolation": self.isolation,
            **changes,
        }

    def worker(self, name: str, container: dict[str, Any] | None, **config: Any) -> Worker:
        provider = config.pop("provider", "local")
        root = config.pop("root", str(self.root))
        config = {**config, "container": container} if container else config
        return Worker.objects.create(name=name, provider=provider, root=root, config=config)

    async def submit(self, target: str = "1", action: str = "review", **fields: Any) -> Job:
        fields.setdefault("worker", "box")
        return await super().submit(target, action, **fields)

    def docker(self, *words: str) -> str:
        done = subprocess.run([*self.engine.command, *words], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def inspected(self, name: str = "") -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(
            subprocess.run(
                [*self.engine.command, "inspect", name or self.name], capture_output=True, check=True
            ).stdout
        )
        return found[0]

    def processes(self, name: str = "") -> list[str]:
        """Return the command lines in the container, without its init and its sleep."""
        lines = self.docker("top", name or self.name, "-eo", "pid,args").splitlines()[1:]
        found = [line.split(None, 1)[1] for line in lines]
        return [text for text in found if "sleep infinity" not in text]

    def _remove_containers(self) -> None:
        names = self.docker("ps", "-a", "--filter", f"name={self.name}", "--format", "{{.Names}}").split()
        if names:
            self.docker("rm", "-f", *names)

    async def slow_job(self, seconds: int = 300, number: int = 2) -> Job:
        """Launch a job whose test sleeps, after it wrote `begun`; return when it runs."""
        await asyncio.to_thread(
            self.shop.pull, number, {"test.sh": f"echo begun; test -f go || sleep {seconds}\n"}
        )
        job = await self.submit(str(number))
        await execution.launch(job.id)
        return job
