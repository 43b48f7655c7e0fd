"""Claude Code, Codex and opencode review, the real ones, against a model API of the test's own."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.conf import settings

from jobs import execution
from jobs.agents import registry
from jobs.agents.base import Options
from jobs.models import Job
from jobs.serializers import utc
from jobs.states import JobState
from tests.jobs.execution.base import DEADLINE, ExecutionTest, until
from tests.support import model_formats
from tests.support.model_api import model_api

SUPPORT = Path(__file__).parents[2] / "support"
KEY = "planted-model-key-77f0"
FINDING = {"severity": "error", "file": "app.txt", "line": 7, "quote": "two", "message": "Two is not one."}
SAYS = {"summary": "It turns one into two.", "findings": [FINDING]}
ANSWERED = ('"tool_result"', '"function_call_output"', '"role":"tool"')


def once(name: str, **arguments: Any) -> Callable[[str], tuple[str, dict[str, Any]] | None]:
    """Return a model that calls one tool, then answers."""

    def call(body: str) -> tuple[str, dict[str, Any]] | None:
        return None if any(mark in body.replace(" ", "") for mark in ANSWERED) else (name, arguments)

    return call


class MoreAgents(ExecutionTest):
    def setUp(self) -> None:
        super().setUp()
        self.api = self.enterContext(model_api())
        self.api.answer = f"Here it is:\n```json\n{json.dumps(SAYS)}\n```"
        path = os.pathsep.join(
            [
                *(str(SUPPORT / name / "node_modules" / ".bin") for name in ("agents", "opencode", "gemini")),
                os.environ["PATH"],
            ]
        )
        keys = {"ANTHROPIC_API_KEY": KEY, "OPENAI_API_KEY": KEY, "GEMINI_API_KEY": KEY}
        self.enterContext(mock.patch.dict(os.environ, {"PATH": path, **keys}))

    def configure(self, model: str) -> None:
        config = settings.OFFLOAD
        values = {**config.values, "agent_url": self.api.url, "agent_model": model}
        self.enterContext(self.settings(OFFLOAD=replace(config, values=values)))

    async def review(self, agent: str) -> tuple[Job, dict[str, Any], str]:
        """Return the job, what `agent.json` says, and the log of the agent's task."""
        job = await self.run_job("1", agent=agent)
        top = self.root / "jobs" / job.session
        log = (top / "tasks" / "agent.log").read_text()
        self.assertEqual({t["id"]: t["state"] for t in job.tasks}["agent"], "succeeded", log)
        self.assertEqual(self.api.wrong, [])
        self.assertEqual({key for _, key, _ in self.api.asked}, {KEY})
        kept = [path for path in self.root.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
        self.assertEqual(kept, [])
        self.assertEqual(job.verdict, "needs_work")
        [finding] = job.findings
        self.assertEqual(
            (finding["message"], finding["file"], finding["line"]), ("Two is not one.", "app.txt", 1)
        )
        calls = [event.data async for event in job.events.filter(kind="model_call")]
        served = [call for call in calls if call["status"] == 200 and call["output"]]
        self.assertEqual(
            {(call["input"], call["cached"], call["output"]) for call in served},
            {(model_formats.INPUT, model_formats.CACHED, model_formats.OUTPUT)},
        )
        return job, json.loads((top / "agent.json").read_text()), log

    async def test_claude_reads_only_waits_at_a_limit_and_says_what_it_cost(self) -> None:
        self.configure("")
        escaped = self.tmp / "escaped"
        self.api.call = once("Write", file_path=str(escaped), content="x")
        self.api.limits = 1
        job, told, log = await self.review("claude")
        self.assertFalse(escaped.exists())
        self.assertIn("The model is asked again: rate_limit (status 429)", log)
        self.assertIn("  Write {", log)
        self.assertIn("  That failed: ", log)
        changes = [event.data["attention"] async for event in job.events.filter(kind="attention")]
        self.assertEqual(changes, ["limit", ""])
        account = await execution.read_account(job)
        assert account.agent is not None
        self.assertEqual((account.agent.value, account.agent.source), ("done", "its task"))
        said = [event.data async for event in job.events.filter(kind="agent_state").order_by("seq")]
        self.assertEqual(said[-1]["state"], "done")
        self.assertIn('"stop_reason":"end_turn"', said[-1]["evidence"])
        self.assertEqual(told["tool_calls"], 1)
        self.assertEqual(told["tokens"]["output"], 2 * model_formats.OUTPUT)
        self.assertGreater(told["cost"], 0)
        own = self.root / "agents" / job.session / "claude-code-config"
        self.assertEqual(len(list(own.rglob(f"{told['session']}.jsonl"))), 1, "it keeps its session")

    async def test_codex_runs_commands_that_cannot_write(self) -> None:
        self.configure("gpt-5.2-codex")
        self.api.call = once("exec_command", cmd="echo x >escaped || echo at $OFFLOAD_MODEL_URL end")
        job, told, _ = await self.review("codex")
        [output] = [item for _, _, body in self.api.asked for item in outputs(body)]
        self.assertIn("Read-only file system", output)
        self.assertIn("\nat end", output, "a command does not see the gateway's address")
        self.assertEqual(list((self.root / "agents" / job.session).rglob("escaped")), [])
        self.assertEqual(told["tokens"]["output"], 2 * model_formats.OUTPUT)
        own = self.root / "agents" / job.session / "codex-config"
        self.assertEqual(len(list(own.rglob(f"rollout-*{told['session']}.jsonl"))), 1, "it keeps its session")

    async def test_an_agent_at_a_limit_of_hours_fails_and_says_when_it_ends(self) -> None:
        self.configure("")
        self.api.limits, self.api.limit_seconds = 99, 7200
        job = await self.run_job("1", agent="codex")
        task = {t["id"]: t for t in job.tasks}["agent"]
        self.assertEqual((task["state"], job.verdict, job.attention), ("failed", "pass", ""))
        limits = [
            event.data["until"] async for event in job.events.filter(kind="model_limit").order_by("seq")
        ]
        self.assertIn(f"Its model is at a limit that ends at {limits[-1]}. Start", task["tail"])
        account = await execution.read_account(job)
        assert account.agent is not None
        self.assertEqual((account.agent.value, utc(account.agent.until)), ("failed", limits[-1]))

    async def test_an_agent_that_was_killed_goes_on_with_its_session(self) -> None:
        self.configure("")
        for number, agent in enumerate(("claude", "codex", "gemini"), 5):
            self.shop.pull(number, {"app.txt": "two\n"})
            await self.kill_and_resume(agent, str(number))

    async def kill_and_resume(self, agent: str, target: str) -> None:
        self.api.asked.clear()
        self.api.go_on.clear()
        job = await self.submit(target, agent=agent)
        top = self.root / "jobs" / job.session
        if agent == "opencode":
            # It names its session when the model has begun to answer: the second call waits here.
            self.api.go_on.set()
            self.api.call = self.read_and_wait
        await execution.launch(job.id)
        await until((top / "agent-state.json").exists, deadline=DEADLINE)
        await until(lambda: self.api.asked, deadline=DEADLINE)
        self.api.call = None
        session = json.loads((top / "agent-state.json").read_text())["session"]
        if agent != "opencode":
            # One that is killed before it has written this down starts again, with a new session.
            await until(lambda: self.has_kept(job, session), deadline=DEADLINE)
        os.kill(json.loads((top / "status.json").read_text())["pid"], signal.SIGKILL)

        async def is_interrupted() -> bool:
            return (await execution.refresh(job.id)).state == JobState.INTERRUPTED

        await until(is_interrupted, deadline=DEADLINE)
        self.api.go_on.set()
        self.api.asked.clear()
        await execution.launch(job.id)
        job = await execution.wait(job.id, timeout=DEADLINE)
        log = (top / "tasks" / "agent.log").read_text()
        self.assertEqual(job.verdict, "needs_work", log)
        self.assertIn(f"It goes on with its session {session}.", log)
        self.assertEqual(json.loads((top / "agent.json").read_text())["session"], session)
        [body] = [body for _, _, body in self.api.asked if "You were interrupted." in body]
        self.assertIn("You review a change for its maintainer.", body, "it still knows what it was asked")

    def has_kept(self, job: Job, session: str) -> bool:
        found = (self.root / "agents" / job.session).rglob(f"*{session[:8]}*")
        return any("You review a change" in path.read_text() for path in found if path.is_file())

    def read_and_wait(self, body: str) -> tuple[str, dict[str, Any]]:
        self.api.go_on.clear()
        return "glob", {"pattern": "*.txt"}

    @pytest.mark.agents
    async def test_opencode_goes_on_with_its_session(self) -> None:
        self.configure("some-model")
        await self.kill_and_resume("opencode", "1")

    @pytest.mark.agents
    async def test_opencode_reads_only(self) -> None:
        self.configure("some-model")
        escaped = self.tmp / "escaped"
        self.api.call = once("bash", command=f"echo x >{escaped}", description="x")
        _, told, _ = await self.review("opencode")
        self.assertFalse(escaped.exists())
        self.assertEqual(told["tokens"]["output"], 2 * model_formats.OUTPUT)


def outputs(body: str) -> list[str]:
    items = json.loads(body).get("input") or []
    return [str(item["output"]) for item in items if item.get("type") == "function_call_output"]


def test_the_versions_that_are_installed_are_those_that_are_tested() -> None:
    packages: dict[str, str] = {}
    for folder in ("gemini", "agents", "opencode"):
        packages |= json.loads((SUPPORT / folder / "package.json").read_text())["dependencies"]
    programs = [registry.get(name, Options(command="x")).program() for name in registry.NAMES]
    assert {program.install.rpartition(" ")[2] for program in programs if program.install} == {
        f"{name}@{version}" for name, version in packages.items()
    }
