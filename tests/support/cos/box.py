"""A worker's machine that boots from the cloud-init that the product renders, and jobs on it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from jobs.errors import NotFound
from jobs.remote.client import RunnerClient
from jobs.remote.layout import Layout
from jobs.remote.offload_runner.protocol import Plan, Task
from jobs.workers import cloud_init
from jobs.workers.container.spec import ContainerSpec, spec_of
from tests.support.cos.line import CosLine
from tests.support.cos.machine import CosMachine
from tests.support.runner_root import wait_for

ANN = (2000123, 2000124)
STEPS = ["data disk", "format the data disk", "mount the data disk", "directories", "metadata server",
         "container engine", "image", "tmux", "container", "up"]  # fmt: skip
LAYOUT = Layout(cloud_init.MOUNT, tmux_socket=None, tmux=f"{cloud_init.MOUNT}/bin/tmux")


class Box:
    """The machine `box`, and what is asked of it: Ann's, with a container of the published image."""

    def __init__(self, machine: CosMachine, image: str) -> None:
        self.machine = machine
        self.image = image
        self.config = self.configured({"user": "ann"}, {"memory": "1g", "cpus": "1.5", "pids": 512})
        self.user_data = cloud_init.render(cloud_init.of_worker("box", cloud_init.MOUNT, self.config))
        self.first: dict[str, Any] = {}

    def configured(self, config: dict[str, Any], container: dict[str, Any]) -> dict[str, Any]:
        return {"boot": {}, **config, "container": {"image": self.image, "engine": ["docker"], **container}}

    @property
    def spec(self) -> ContainerSpec:
        """Return what a launch by Ann expects."""
        spec = spec_of(self.config, cloud_init.MOUNT)
        assert spec is not None
        return spec.owned_by(f"{ANN[0]}:{ANN[1]}")

    @property
    def line(self) -> CosLine:
        return CosLine(self.machine, *ANN)

    @property
    def client(self) -> RunnerClient:
        return RunnerClient(self.line, LAYOUT, self.spec.inside)

    def start(self, *, docker_first: bool) -> None:
        """Turn the machine on and let cloud-init run. The disk and Ann's login are yet to appear."""
        self.machine.power_on()
        if docker_first:
            self.machine.start_docker()
        self.machine.cloud_init(self.user_data)

    def appear(self) -> None:
        """Let the data disk and Ann's login appear."""
        self.machine.attach_disk()
        lines = f"echo ann:x:{ANN[0]}:{ANN[1]}::/home/ann:/bin/bash >> /etc/passwd; mkdir -p /home/ann"
        self.machine.sh(f"{lines}; chown {ANN[0]}:{ANN[1]} /home/ann")

    def inspected(self, name: str = "maintainer-worker") -> dict[str, Any]:
        return dict(json.loads(self.machine.run("docker", "inspect", name))[0])

    def times_ready(self) -> int:
        """Return how often the console said that the machine is up."""
        return self.machine.console.count(b"offload: ready: up")

    def boot_steps(self, before: int) -> list[str]:
        """Return the steps on the console of the boot script that came after `before` others ended well."""
        wait_for(lambda: self.times_ready() > before)
        said = self.machine.console.decode(errors="replace").rpartition("offload: boot ")[2].splitlines()[1:]
        return [line.split(": ")[2] for line in said if line.startswith("offload: ")]

    def reports(self) -> list[dict[str, Any]]:
        """Return what was published in this boot."""
        now = self.machine.run("cat", "/proc/sys/kernel/random/boot_id").strip()
        return [report for report in self.machine.cloud.reports() if report["boot_id"] == now]


@asynccontextmanager
async def job(box: Box, session: str) -> AsyncIterator[None]:
    """A job at work in the container, in a session of the tmux from the image. Ended at last."""
    wait = f"echo begun; while [ ! -e {LAYOUT.worktree(session)}/go ]; do sleep 0.05; done"
    plan = Plan(job={"target": "#1", "action": "review"}, tasks=[Task(id="work", name="Work", shell=wait)])
    await box.line.run(["mkdir", "-p", LAYOUT.worktree(session), LAYOUT.job_dir(session)])
    assert (await box.client.start(session, plan)).created
    await until(lambda: log(box, session), b"begun\n")
    try:
        yield
    finally:
        await box.line.run(["touch", f"{LAYOUT.worktree(session)}/go"])
        await until(lambda: kinds(box, session), "finished")
        await box.line.run(LAYOUT.tmux_argv("kill-session", "-t", f"={session}"))


async def until(look: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    end = time.monotonic() + 60
    while True:
        seen = await look()
        if wanted in seen:
            return
        assert time.monotonic() < end, seen
        await asyncio.sleep(0.05)


async def log(box: Box, session: str) -> list[bytes]:
    try:
        return [await box.client.log(session, "work")]
    except NotFound:
        return []


async def kinds(box: Box, session: str) -> list[str]:
    lines = [line async for line in box.client.follow({}, once=True)]
    return [line["event"]["kind"] for line in lines if line["type"] == "event" and line["session"] == session]
