"""Claude Code and Gemini CLI on their own screens, the real ones, against a model API of the test's own."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from django.conf import settings

from jobs import execution
from jobs.errors import Refused
from jobs.execution import Known
from jobs.models import Job
from jobs.states import Attention, JobState
from tests.jobs.execution.base import DEADLINE, ExecutionTest, until
from tests.support.model_api import model_api

SUPPORT = Path(__file__).parents[2] / "support"
KEY = "planted-model-key-77f0"
CHOICES = [{"label": "red", "description": "r"}, {"label": "blue", "description": "b"}]
COLOUR = {"question": "Which colour?", "header": "Colour", "multiSelect": False, "options": CHOICES}

Calls = Callable[[str], tuple[str, dict[str, Any]] | None]


class AgentScreens(ExecutionTest):
    def setUp(self) -> None:
        super().setUp()
        self.api = self.enterContext(model_api())
        self.api.answer = "All of that is done."
        folders = [str(SUPPORT / name / "node_modules" / ".bin") for name in ("agents", "gemini")]
        keys = dict.fromkeys(("ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OPENAI_API_KEY"), KEY)
        path = os.pathsep.join([*folders, os.environ["PATH"]])
        self.enterContext(mock.patch.dict(os.environ, {"PATH": path, **keys}))
        self.configure(agent_url=self.api.url)

    def configure(self, **fields: str) -> None:
        config = settings.OFFLOAD
        self.enterContext(self.settings(OFFLOAD=replace(config, values={**config.values, **fields})))

    async def open(self, agent: str, call: Calls) -> Job:
        self.api.call = call
        job = await self.submit("1", "open", agent=agent)
        return await execution.launch(job.id)

    async def needs(self, job: Job, attention: Attention, detail: str = "") -> Known:
        """Wait until the job needs a person for this, and return what is known of its agent."""
        found: list[Known] = []

        async def is_needed() -> bool:
            seen = await execution.refresh(job.id)
            known = (await execution.read_account(seen)).agent
            found[:] = [known] if known is not None else []
            return seen.attention == attention and known is not None and detail in known.detail

        try:
            await until(is_needed, deadline=DEADLINE)
        except AssertionError:
            raise AssertionError(f"{found}\n{await execution.peek(job.id, lines=1)}") from None
        return found[0]

    async def shows(self, job: Job, text: str) -> None:
        async def is_there() -> bool:
            return text in await execution.peek(job.id, lines=100)

        try:
            await until(is_there, deadline=DEADLINE)
        except AssertionError:
            raise AssertionError(f"{text!r} is not in {await execution.peek(job.id)}") from None

    async def send(self, job: Job, answer: str, text: str = "") -> None:
        async def is_typed() -> bool:
            try:
                await execution.answer_agent(job.id, answer, text, "kim")
            except Refused as refusal:
                if "screen is not there yet" not in str(refusal):
                    raise
                return False
            return True

        await until(is_typed, deadline=DEADLINE)

    async def told(self, text: str) -> None:
        """Wait until the model is told this."""
        try:
            await until(lambda: any(text in body for _, _, body in self.api.asked), deadline=DEADLINE / 2)
        except AssertionError:
            last = json.loads(self.api.asked[-1][2]).get("messages") or self.api.asked[-1][2]
            raise AssertionError(f"{text!r} is not in {str(last)[-2000:]}") from None

    def check_key(self, job: Job) -> None:
        """Check that the gateway alone had the key."""
        self.assertEqual(self.api.wrong, [])
        self.assertEqual({key for _, key, _ in self.api.asked}, {KEY})
        kept = [path for path in self.root.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
        self.assertEqual(kept, [])

    async def test_claude_asks_and_is_answered(self) -> None:
        job = await self.open("claude", claude_calls(self.root))
        tree = self.root / "worktrees" / job.session
        await self.needs(job, Attention.INPUT)
        await self.send(job, "send", "please make one.txt")
        known = await self.needs(job, Attention.APPROVAL, f"Write: {tree}/one.txt")
        self.assertEqual((known.value, known.source), ("approval", "its hook PermissionRequest"))
        self.assertIn('"tool_name": "Write"', known.evidence)
        await self.send(job, "approve")
        await self.needs(job, Attention.INPUT)
        self.assertEqual((tree / "one.txt").read_text(), "made\n")
        await self.send(job, "send", "please make two.txt")
        await self.needs(job, Attention.APPROVAL, "two.txt")
        await self.send(job, "deny", "Use the fixture instead.")
        await self.told("Use the fixture instead.")
        await self.needs(job, Attention.INPUT)
        self.assertFalse((tree / "two.txt").exists())
        await self.send(job, "send", "please ask")
        await self.needs(job, Attention.INPUT, "Which colour? 1. red 2. blue")
        await self.send(job, "send", "2")
        await self.told('=\\"blue\\"')
        await self.needs(job, Attention.INPUT)
        await self.send(job, "send", "please ask")
        await self.needs(job, Attention.INPUT, "Which colour?")
        await self.send(job, "send", "green, rather")
        await self.told("green, rather")
        await self.needs(job, Attention.INPUT)
        self.check_key(job)
        await self.check_resume(job)

    async def test_gemini_asks_and_is_answered(self) -> None:
        await self.check_agent("gemini", gemini_calls(self.root), "edit: {tree}/one.txt", "Notification")

    async def test_codex_asks_and_is_answered(self) -> None:
        self.configure(agent_model="gpt-5.2-codex")  # newer ones get their tools in a format of their own
        await self.check_agent(
            "codex", codex_calls(self.root), "echo made > {tree}/one.txt", "PermissionRequest"
        )

    async def check_agent(self, agent: str, calls: Calls, asks: str, event: str) -> None:
        """Have an agent make one file and not another, go on, and be killed and resumed."""
        job = await self.open(agent, calls)
        tree = self.root / "worktrees" / job.session
        await self.needs(job, Attention.INPUT)
        await self.send(job, "send", "please make one.txt")
        known = await self.needs(job, Attention.APPROVAL, asks.format(tree=tree))
        self.assertEqual((known.value, known.source), ("approval", f"its hook {event}"))
        await self.send(job, "approve")
        await self.needs(job, Attention.INPUT)
        self.assertEqual((tree / "one.txt").read_text(), "made\n")
        self.assertTrue(
            any(
                f"change is in {tree}" in body or f"work on is in {tree}" in body
                for _, _, body in self.api.asked
            )
        )
        await self.send(job, "send", "please make two.txt")
        await self.needs(job, Attention.APPROVAL, "two.txt")
        await self.send(job, "deny", "Use the fixture\ninstead.")
        await self.told("Use the fixture\\ninstead.")
        await self.needs(job, Attention.INPUT)
        self.assertFalse((tree / "two.txt").exists())
        self.check_key(job)
        await self.check_resume(job)

    async def check_resume(self, job: Job) -> None:
        """Kill the runner; the same command goes on with the agent's own session."""
        status = json.loads((self.root / "jobs" / job.session / "status.json").read_text())
        os.kill(status["pid"], signal.SIGKILL)

        async def is_interrupted() -> bool:
            return (await execution.refresh(job.id)).state == JobState.INTERRUPTED

        await until(is_interrupted, deadline=DEADLINE)
        await execution.launch(job.id)
        await self.needs(job, Attention.INPUT)
        await self.shows(job, "All of that is done.")
        self.api.asked.clear()
        await self.send(job, "send", "please go on")
        await until(lambda: self.api.asked, deadline=DEADLINE)
        self.assertIn("Use the fixture", self.api.asked[0][2], "it still knows what it was told")
        await self.needs(job, Attention.INPUT)
        await execution.cancel(job.id, "kim")


def claude_calls(root: Path) -> Calls:
    """Return a model that makes the file that it is asked for, or asks a question."""

    def call(body: str) -> tuple[str, dict[str, Any]] | None:
        messages = json.loads(body)["messages"]
        asked = [message for message in messages if message["role"] == "user"][-1]["content"]
        blocks = [asked] if isinstance(asked, str) else asked
        last = blocks[-1] if isinstance(blocks[-1], str) else blocks[-1].get("text", "")
        if "please make " in last:
            [tree] = (root / "worktrees").iterdir()
            name = last.partition("please make ")[2].split()[0]
            return "Write", {"file_path": str(tree / name), "content": "made\n"}
        return ("AskUserQuestion", {"questions": [COLOUR]}) if "please ask" in last else None

    return call


def gemini_calls(root: Path) -> Calls:
    """Return a model that makes the file that it is asked for."""

    def call(body: str) -> tuple[str, dict[str, Any]] | None:
        path = wanted(root, json.loads(body)["contents"][-1]["parts"][-1].get("text", ""))
        return ("write_file", {"file_path": path, "content": "made\n"}) if path else None

    return call


def codex_calls(root: Path) -> Calls:
    """Return a model that makes the file that it is asked for, by a command."""

    def call(body: str) -> tuple[str, dict[str, Any]] | None:
        last = json.loads(body)["input"][-1]
        is_asked = last.get("type") == "message" and last.get("role") == "user"
        path = wanted(root, last["content"][-1].get("text", "")) if is_asked else ""
        more = {"sandbox_permissions": "require_escalated", "justification": "It writes a file."}
        return ("exec_command", {"cmd": f"echo made > {path}", **more}) if path else None

    return call


def wanted(root: Path, text: str) -> str:
    """Return the path of the file that a text asks for; empty: none."""
    if "please make " not in text:
        return ""
    [tree] = (root / "worktrees").iterdir()
    return str(tree / text.partition("please make ")[2].split()[0])
