"""`open --agent`: an agent on its own screen, from the request to its answers."""

import os
import shlex
import sys
from dataclasses import replace
from unittest import mock

from asgiref.sync import sync_to_async
from django.conf import settings

from jobs import execution
from jobs.cli.main import run_verb
from jobs.cli.request import actor, make_request
from jobs.errors import NotConfigured, Refused, UsageError
from jobs.models import Job
from jobs.operations import add_token
from jobs.serializers import account_json
from jobs.states import Attention, JobState
from offload_web.login import local_user
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

    async def test_answers_reach_an_agent_that_waits_and_name_who_gave_them(self) -> None:
        self.configure(agent_screen=PROGRAM)
        job = await self.open()
        await self.until_it_needs(job, Attention.INPUT)
        self.assertEqual(await self.type("send", "ask", "rm build"), 0)
        await self.until_it_needs(job, Attention.APPROVAL)
        person = await sync_to_async(local_user)()
        await sync_to_async(self.async_client.force_login)(person)
        page = await self.async_client.get(f"/jobs/{job.id}/")
        self.assertContains(page, "The agent asks: <code>rm build</code>")
        self.assertContains(page, '<input type="hidden" name="about" value="rm build">')
        said = await self.press(job, answer="approve", about="ls")
        self.assertIn("asks for something else now: it waits for approval (rm build)", said)
        self.assertIn("control character", await self.press(job, answer="deny", text="\x1b[A"))
        self.assertEqual(await self.press(job, answer="approve", about="rm build"), "")
        await until(lambda: self.shows(job, "said yes"))
        await self.until_it_needs(job, Attention.INPUT)
        with self.assertRaisesRegex(Refused, "asks for no approval: it waits for input"):
            await self.type("approve")
        _, token = await add_token("phone", ["launch"], "ada")
        headers = {"authorization": f"Bearer {token}"}
        for body, status in (({"answer": "send", "text": "ask again"}, 200), ({"answer": "shout"}, 422)):
            answer = await self.async_client.post(
                f"/api/v1/jobs/{job.id}/answer", body, content_type="application/json", headers=headers
            )
            self.assertEqual(answer.status_code, status, answer.content)
        await self.until_it_needs(job, Attention.APPROVAL)
        self.assertEqual(await self.type("deny", "not", "that"), 0)
        await until(lambda: self.shows(job, "said no"))
        await until(lambda: self.shows(job, "got 'not that'"))
        told = [event.data async for event in job.events.filter(kind="agent_answer").order_by("seq")]
        user = actor()
        self.assertEqual(
            [(event["answer"], event["text"], event["actor"]) for event in told],
            [
                ("send", "ask rm build", user),
                ("approve", "", f"{person.username} (dashboard)"),
                ("send", "ask again", "phone (API)"),
                ("deny", "not that", user),
            ],
        )
        await execution.cancel(job.id, "kim")

    async def test_a_job_without_an_agent_that_waits_is_not_typed_to(self) -> None:
        job = await self.submit("1", "open")
        await execution.launch(job.id)
        with self.assertRaisesRegex(Refused, "no agent that waits in its pane. .*open --agent"):
            await execution.answer_agent(job.id, "send", "rm -rf /", "kim")
        with self.assertRaisesRegex(Refused, "There is no text"):
            await execution.answer_agent(job.id, "send", " ", "kim")

    async def type(self, verb: str, *words: str) -> int:
        return await run_verb(verb, make_request(["1", *words], repo=self.shop.url))

    async def press(self, job: Job, **fields: str) -> str:
        """Send the form of the job's page; return the message that it shows then."""
        answer = await self.async_client.post(f"/jobs/{job.id}/answer", fields, follow=True)
        return " ".join(str(message) for message in answer.context["messages"])

    async def shows(self, job: Job, text: str) -> bool:
        return text in await execution.peek(job.id)

    async def test_what_cannot_be_opened_is_said_before_anything_runs(self) -> None:
        for agent, error, why in (
            ("generic", NotConfigured, "setup --set agent_screen="),
            ("opencode", UsageError, "does not know how opencode reports"),
        ):
            job = await self.submit(f"1:{agent}", "open", agent=agent)
            with self.assertRaisesRegex(error, why):
                await execution.launch(job.id)
