"""Secrets and profiles with an engine between us and the tasks: nothing of them in what it knows."""

import asyncio
import os
import shlex
from pathlib import Path
from unittest import mock

from django.conf import settings

from jobs import execution
from jobs.agents.gemini import PROFILE, Gemini
from jobs.models import Job
from jobs.remote.offload_runner.engine.process import marked
from jobs.remote.offload_runner.engine.redact import MARK
from tests.container.base import ContainerTest
from tests.jobs.execution.base import PASSING, until
from tests.support.git_repos import RepoBuilder
from tests.support.planted import CONFIG, DEPLOY, FORMS, VALUE, dumped, files_with_it, processes_with_it


class SecretsInside(ContainerTest):
    def setUp(self) -> None:
        super().setUp()
        deploy = DEPLOY.replace("$GO", "go")
        files = {**PASSING, "deploy.sh": deploy, ".offload/config.toml": CONFIG}
        self.shop = RepoBuilder(self.tmp / "plant").commit(files)
        self.shop.pull(1, {"app.txt": "two\n"})

    def log(self, job: Job, task: str = "deploy") -> str:
        path = self.root / "jobs" / job.session / "tasks" / f"{task}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def in_memory_inside(self) -> str:
        search = f"find /run /dev/shm /tmp -type f -exec grep -s -l -e {shlex.quote(VALUE)} {{}} +"
        return self.docker("exec", "-u", "1000", self.name, "sh", "-c", search)

    async def test_a_planted_secret_is_in_nothing_that_the_engine_knows(self) -> None:
        await asyncio.to_thread(execution.secret_store().set, "DEPLOY_TOKEN", VALUE)
        job = await self.submit(secrets=("DEPLOY_TOKEN",))
        await execution.launch(job.id)
        await until(lambda: "pid " in self.log(job), deadline=90)
        mark = str(self.root / "jobs" / job.session / "tasks" / "deploy")
        tasks = marked(mark)
        self.assertTrue(any(VALUE.encode() in Path(f"/proc/{pid}/environ").read_bytes() for pid in tasks))
        # `docker exec` and the engine's own processes are among them.
        self.assertEqual(processes_with_it(tasks, mark), [])
        self.assertEqual(await asyncio.to_thread(self.in_memory_inside), "")
        known = self.docker("inspect", self.name) + self.docker("logs", self.name)
        # With the supervisor's, whose input is in no argv and no environment.
        execs = self.inspected()["ExecIDs"] or []
        self.assertTrue(execs)
        known += "".join(self.docker("exec", self.name, "cat", "/proc/1/environ"))
        for text in [known, *(self.docker("inspect", str(each)) for each in execs)]:
            self.assertFalse([form for form in FORMS if form in text.encode()])
        (self.root / "worktrees" / job.session / "go").touch()
        job = await execution.wait(job.id, timeout=90)
        self.assertEqual({t["id"]: t["state"] for t in job.tasks}["deploy"], "succeeded")
        self.assertEqual(self.log(job).count(MARK), 3)
        await execution.archive(job.id)
        self.assertTrue(list(self.root.glob("jobs/*/recording.cast")), "there is a recording to look into")
        own = self.engine.directory
        self.assertFalse([form for form in FORMS if form in self.engine.log.read_bytes()])
        self.assertEqual(files_with_it(self.root, own / "exec", own / "data" / "containers"), [])
        home = Path(settings.OFFLOAD.home)
        self.assertEqual(files_with_it(home), [str(home / "secrets.private.json")])
        self.assertEqual(await asyncio.to_thread(dumped, "plant"), [])
        await execution.remove(job.id, force=True)
        self.assertEqual(processes_with_it(set()), [])
        self.assertEqual(await asyncio.to_thread(self.in_memory_inside), "")

    async def test_a_hostile_job_cannot_write_the_agents_profile(self) -> None:
        top = str(self.root / PROFILE)
        hostile = f"chmod -R u+w {top}; echo evil >{top}/.gemini/settings.json; mkdir {top}/evil; true\n"
        self.shop.pull(2, {"test.sh": hostile, "go": ""})
        await asyncio.to_thread(execution.secret_store().set, "DEPLOY_TOKEN", VALUE)
        with mock.patch.dict(os.environ, {"GEMINI_API_KEY": "a-model-key-77f0"}):
            job = await self.run_job("2", agent="gemini", secrets=("DEPLOY_TOKEN",))
        self.assertGreaterEqual(self.log(job, "test").count("Read-only file system"), 2)
        files = {p.relative_to(top).as_posix(): p.read_text() for p in Path(top).rglob("*") if p.is_file()}
        clean = dict(Gemini().profile.files)
        self.assertEqual(files, clean)
        # The image of this test has no agent: its task says so, and had a clean copy to start from.
        self.assertIn("gemini is not installed", self.log(job, "agent"))
        copy = self.root / "agents" / job.session / PROFILE / ".gemini" / "settings.json"
        self.assertEqual(copy.read_text(), clean[".gemini/settings.json"])
