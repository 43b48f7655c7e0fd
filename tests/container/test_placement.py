"""Code from elsewhere runs in a container when an engine has the image; that of this machine does not."""

import asyncio
import os
import subprocess
import time
from dataclasses import replace
from unittest import mock

from asgiref.sync import sync_to_async
from django.conf import settings

from jobs import execution, serializers
from jobs.errors import Refused
from jobs.forges.target import parse_target
from jobs.models import Job, Repository, Worker
from jobs.operations import check_everything
from jobs.states import JobState
from jobs.workers.container.spec import DEFAULT_IMAGE
from tests.container.base import ContainerTest
from tests.support.sshd import free_port


class ByDefault(ContainerTest):
    def setUp(self) -> None:
        super().setUp()
        values = {**settings.OFFLOAD.values, "container": "auto"}
        self.enterContext(self.settings(OFFLOAD=replace(settings.OFFLOAD, values=values)))
        # As on a person's machine, where `docker` needs no words to find its engine.
        engine = {"DOCKER_HOST": self.engine.command[-1]}
        self.enterContext(mock.patch.dict(os.environ, engine))
        self.docker("tag", self.engine.image, DEFAULT_IMAGE)
        self.addCleanup(self.docker, "rmi", DEFAULT_IMAGE)
        self.addCleanup(self.docker, "rm", "-f", "maintainer-worker-local", "maintainer-worker-local-control")
        self.far = self.serve()

    def serve(self) -> str:
        """Serve the repository by git's own server; return its address, which is no path."""
        port = free_port()
        daemon = subprocess.Popen(
            ["git", "daemon", "--reuseaddr", "--export-all", "--listen=127.0.0.1", f"--port={port}",
             f"--base-path={self.tmp}"],
            start_new_session=True,
        )  # fmt: skip
        self.addCleanup(daemon.wait)
        self.addCleanup(lambda: os.killpg(daemon.pid, 15))
        url = f"git://127.0.0.1:{port}/{self.shop.path.name}"
        end = time.monotonic() + 20
        while subprocess.run(["git", "ls-remote", url], capture_output=True, check=False).returncode:
            assert time.monotonic() < end, "git daemon does not answer"
            time.sleep(0.05)
        return url

    async def placed(self, url: str, number: str = "1") -> Job:
        repository = await execution.resolve_repository(url, self.tmp)
        request = execution.JobRequest(repository, parse_target(number))
        job, _ = await execution.submit(request)
        return await Job.objects.select_related("worker", "repository").aget(id=job.id)

    async def doctor(self) -> str:
        return next(p.detail for p in await check_everything() if p.subject == "worker local: container")

    async def test_code_from_elsewhere_runs_in_the_container_beside_the_bare_worker(self) -> None:
        self.assertIn("runs in a container (local-container), because docker has", await self.doctor())
        job = await self.placed(self.far)
        self.assertEqual(job.worker.name, "local-container")
        self.assertEqual(job.worker.root, f"{self.root}-container")
        why = (
            f"In a container, because the code comes from elsewhere and docker has the image {DEFAULT_IMAGE}."
        )
        self.assertEqual(serializers.job_json(job)["placement"], why)
        # This engine of the tests has no bridge.
        container = {**job.worker.config["container"], "network": "host"}
        await Worker.objects.filter(id=job.worker_id).aupdate(config={"container": container})
        await execution.launch(job.id)
        job = await execution.wait(job.id, timeout=60)
        self.assertEqual((job.state, job.verdict), (JobState.SUCCEEDED, "pass"))
        self.assertEqual(job.image, self.inspected("maintainer-worker-local")["Image"])
        self.assertIsNone((await Repository.objects.aget(url=self.far)).trusted_at, "not asked")

        # Whether the head has moved is asked where git is: Container-Optimized OS has none on the host.
        self.shop.pull(1, {"app.txt": "newer\n"})
        git = self.tmp / "no-git" / "git"
        git.parent.mkdir()
        git.write_text("#!/bin/sh\nexit 127\n")
        git.chmod(0o755)
        with mock.patch.dict(os.environ, {"PATH": f"{git.parent}:{os.environ['PATH']}"}):
            moved = await execution.check_head(job.id)
        self.assertEqual(moved.moved_to, self.shop.sha("refs/pull/1/head"))

        # A path of this machine stays bare, and the same words come back to the same job.
        self.assertEqual((await self.placed(str(self.shop.path))).worker.name, "local")
        repository = await execution.resolve_repository(self.far, self.tmp)
        request = execution.JobRequest(repository, parse_target("1"), worker="local")
        self.assertEqual((await execution.submit(request))[0].id, job.id)

    async def test_without_image_or_by_setting_it_asks_and_says_why(self) -> None:
        cases = {
            f"docker has no image {DEFAULT_IMAGE}. Build the image with `manage.py fleet image build`": {},
            "local was added with --no-container": {"container": False},
        }
        job = await self.placed(str(self.shop.path))
        await asyncio.to_thread(self.docker, "rmi", DEFAULT_IMAGE)
        for number, (words, config) in enumerate(cases.items(), start=1):
            await Worker.objects.filter(id=job.worker_id).aupdate(config=config)
            self.assertIn(f"runs as you, once you trust it, because {words}", await self.doctor())
            far = await self.placed(self.far, str(number))
            self.assertEqual(far.worker.name, "local")
            with self.assertRaises(Refused) as refused:
                await execution.launch(far.id)
            self.assertIn(f"Without a container, because {words}", refused.exception.message)
        self.assertFalse(await Worker.objects.filter(name="local-container").aexists())
        await sync_to_async(self.docker)("tag", self.engine.image, DEFAULT_IMAGE)
