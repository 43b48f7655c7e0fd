"""A secret is planted, a task prints it in every way, and everything that can be read is searched."""

import asyncio
import subprocess
from pathlib import Path

from django.conf import settings

from jobs import execution
from jobs.errors import NotConfigured, Refused
from jobs.execution.secrets import secrets_for
from jobs.models import Job
from jobs.remote.layout import socket_for_root
from jobs.remote.offload_runner.commands import secrets
from jobs.remote.offload_runner.engine.process import marked
from jobs.remote.offload_runner.engine.redact import MARK
from jobs.remote.offload_runner.protocol import Plan, Task
from jobs.remote.offload_runner.screen.tmux_server import server_options
from tests.jobs.execution.base import PASSING, ExecutionTest, Steps, until
from tests.support.git_repos import RepoBuilder
from tests.support.offload_home import processes_under
from tests.support.planted import CONFIG, DEPLOY, VALUE, dumped, files_with_it, processes_with_it


class Secrets(ExecutionTest):
    def setUp(self) -> None:
        super().setUp()
        self.go = self.tmp / "go"
        deploy = DEPLOY.replace("$GO", str(self.go))
        files = {**PASSING, "deploy.sh": deploy, ".offload/config.toml": CONFIG}
        self.repo = RepoBuilder(self.tmp / "plant").commit(files)
        self.repo.pull(1, {"app.txt": "two\n"})
        self.home = Path(settings.OFFLOAD.home)

    def log(self, job: Job) -> str:
        path = self.root / "jobs" / job.session / "tasks" / "deploy.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def kept_in_memory(self) -> list[str]:
        return files_with_it(*(place for place in secrets._places() if place.is_dir()))

    async def test_a_planted_secret_is_nowhere_but_in_its_task(self) -> None:
        # The command line's own process stands for the user's machine: there the value is a file of theirs.
        await asyncio.to_thread(execution.secret_store().set, "DEPLOY_TOKEN", VALUE)
        job = await self.submit(repo=self.repo, secrets=("DEPLOY_TOKEN",))
        await execution.launch(job.id)
        await until(lambda: "pid " in self.log(job), deadline=60)
        pid = int(self.log(job).rpartition("pid ")[2].split()[0])
        self.assertIn(VALUE.encode(), Path(f"/proc/{pid}/environ").read_bytes())
        mark = str(self.root / "jobs" / job.session / "tasks" / "deploy")
        self.assertEqual(processes_with_it(marked(mark), mark), [])
        self.assertEqual(self.kept_in_memory(), [])
        self.go.touch()
        job = await execution.wait(job.id, timeout=60)
        self.assertEqual({t["id"]: t["state"] for t in job.tasks}["deploy"], "succeeded")
        self.assertEqual(self.log(job).count(MARK), 3)
        told = [finding["message"] for finding in job.findings if finding["task"] == "deploy"]
        self.assertIn("had DEPLOY_TOKEN without a container: every program of the worker's user", told[0])
        await execution.archive(job.id)
        recording = self.root / "jobs" / job.session / "recording.cast"
        self.assertIn("deploy", recording.read_text())
        self.assertEqual((await Job.objects.aget(id=job.id)).options["secrets"], ["DEPLOY_TOKEN"])
        self.assertEqual(files_with_it(self.root, self.tmp / "plant"), [])
        self.assertEqual(files_with_it(self.home), [str(self.home / "secrets.private.json")])
        self.assertEqual(await asyncio.to_thread(dumped, "plant"), [])
        await execution.remove(job.id, force=True)
        self.assertEqual(processes_with_it(set()), [])

    async def test_a_cut_off_job_gets_its_secret_again(self) -> None:
        await asyncio.to_thread(execution.secret_store().set, "DEPLOY_TOKEN", VALUE)
        job = await self.submit(repo=self.repo, secrets=("DEPLOY_TOKEN",))
        await execution.launch(job.id)
        await until(lambda: "pid " in self.log(job), deadline=60)
        socket = socket_for_root(str(self.root), settings.OFFLOAD.default_worker_root)
        tmux = ["tmux", *server_options(str(self.root), socket)]
        await asyncio.to_thread(subprocess.run, [*tmux, "kill-server"], check=True)
        await until(lambda: not processes_under(str(self.root)), deadline=30)
        job = await execution.refresh(job.id)
        self.assertEqual(job.state, "interrupted")
        self.go.touch()
        await execution.launch(job.id)
        job = await execution.wait(job.id, timeout=60)
        self.assertEqual({t["id"]: t["state"] for t in job.tasks}["deploy"], "succeeded")
        self.assertEqual(self.log(job).count(f"plain {MARK}"), 2)
        self.assertEqual(self.kept_in_memory(), [])

    async def test_a_secret_that_is_not_there_is_an_error_before_the_start(self) -> None:
        job = await self.submit(repo=self.repo, secrets=("DEPLOY_TOKEN",))
        with self.assertRaisesRegex(NotConfigured, "needs the secret DEPLOY_TOKEN"):
            await execution.launch(job.id)
        self.assertFalse((self.root / "jobs" / job.session / "events.jsonl").read_text().count("started"))

    async def test_a_secret_that_was_not_granted_is_refused(self) -> None:
        await asyncio.to_thread(execution.secret_store().set, "DEPLOY_TOKEN", VALUE)
        job = await self.submit(repo=self.repo)
        with self.assertRaisesRegex(Refused, "--secret DEPLOY_TOKEN"):
            await execution.launch(job.id)

    async def test_no_job_gets_the_token_that_writes(self) -> None:
        for name in ("GITHUB_WRITE_TOKEN", "GIT_WRITE_TOKEN_EXAMPLE_ORG"):
            plan = Plan(job={}, tasks=[Task("deploy", "Deploy", argv=["true"], secrets=[name])])
            with self.subTest(name), self.assertRaisesRegex(Refused, "only the outbox may use"):
                await secrets_for(Job(options={"secrets": [name]}), plan)

    async def test_a_secret_that_no_task_names_reaches_none(self) -> None:
        await asyncio.to_thread(execution.secret_store().set, "OTHER_TOKEN", VALUE)
        job = await self.submit(secrets=("OTHER_TOKEN",))
        steps = Steps()
        await execution.launch(job.id, steps)
        await execution.wait(job.id, timeout=60)
        self.assertTrue(any("No task names the secret OTHER_TOKEN" in text for text in steps.texts))
