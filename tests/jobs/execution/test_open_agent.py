"""`open --agent`: an agent on its own screen, from the request to its answers."""

import os
import shlex
import sys
from dataclasses import replace
from unittest import mock

from django.conf import settings

from jobs import execution
from jobs.errors import NotConfigured, UsageError
from jobs.models import Job
from jobs.serializers import account_json
from jobs.states import Attention, JobState
from tests.jobs.execution.base import DEADLINE, ExecutionTest, until
from tests.support import screen_agent

KEY = "planted-model-key-77f0"
PROGRAM = shlex.join([sys.executable, screen_agent.__file__])


class OpenAgent(ExecutionTest):
    def configure(self, **fields: object) -> None:
        config = settings.OFFLOAD
        self.enterContext(self.settings(OFFLOAD=replace(config, values={**config.values, **fields})))

    async def open(self, agent: str = "generic", **fields: str) -> Job:
        """Return a job whose agent has the pane."""
        job = await self.submit("1", "open", agent=agent, **fields)
        return await execution.launch(job.id)

    async def until_it_needs(self, job: Job, attention: Attention) -> Job:
        async def is_needed() -> bool:
            return (await execution.refresh(job.id)).attention == attention

        await until(is_needed, deadline=DEADLINE)
        return await execution.refresh(job.id)

    async def test_a_person_is_needed_while_the_agent_waits(self) -> None:
        self.configure(agent_screen=PROGRAM, agent_secrets=("MODEL_KEY",))
        with mock.patch.dict(os.environ, {"MODEL_KEY": KEY}):
            job = await self.open()
        job = await self.until_it_needs(job, Attention.INPUT)
        self.assertEqual(job.state, JobState.RUNNING)
        self.assertIn(f"with {KEY}, a person", await execution.peek(job.id))
        account = await execution.read_account(job)
        assert account.agent is not None
        self.assertEqual((account.agent.value, account.agent.source), ("input", "its hook of its own"))
        self.assertEqual(account.agent.evidence, '{"state": "input", "detail": ""}')
        self.assertTrue(account_json(account, None)["takes_input"])
        await execution.cancel(job.id, "kim")
        job = await execution.wait(job.id, timeout=DEADLINE)
        self.assertEqual((job.state, job.attention), (JobState.CANCELLED, ""))
        account = await execution.read_account(job)
        self.assertEqual(account.no_input, "Its agent does not run: the job is cancelled.")

    async def test_what_cannot_be_opened_is_said_before_anything_runs(self) -> None:
        for agent, error, why in (
            ("generic", NotConfigured, "setup --set agent_screen="),
            ("opencode", UsageError, "does not know how opencode reports"),
        ):
            job = await self.submit(f"1:{agent}", "open", agent=agent)
            with self.assertRaisesRegex(error, why):
                await execution.launch(job.id)
