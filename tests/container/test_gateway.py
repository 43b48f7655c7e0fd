"""The model gateway from within a container that has no network at all."""

import asyncio
import json
import subprocess
from typing import Any

from jobs.remote import bundle
from jobs.remote.layout import Layout
from jobs.remote.offload_runner.protocol import Plan, Task
from tests.container.base import ContainerTest
from tests.support.strict_model_api import KEY, piece, strict_api

ASK = r"""
import json, os, socket, urllib.request
url = os.environ["OFFLOAD_MODEL_URL"] + "/gemini/v1beta/models/good:streamGenerateContent?alt=sse"
with urllib.request.urlopen(urllib.request.Request(url, b"{}")) as answer:
    first = answer.readline()
    urllib.request.urlopen(os.environ["OFFLOAD_MODEL_URL"] + "/gemini/v1beta/models").read()
    print(json.dumps([first.decode(), len(answer.read())]))
print(json.dumps(["networks", [name for _, name in socket.if_nameindex()]]))
"""


class GatewayInside(ContainerTest):
    def container(self, **changes: Any) -> dict[str, Any]:
        return super().container(**{"network": "none", **changes})

    def run_plan(self, session: str, *tasks: Task) -> list[dict[str, Any]]:
        """Work through a plan of our own as the job's runner; return the journal's events."""
        folder = self.root / "jobs" / session
        (folder / "plan.json").write_text(
            Plan(job={"target": "#1", "action": "review"}, tasks=[*tasks]).dumps()
        )
        (folder / "events.jsonl").unlink()
        layout = Layout(str(self.root))
        words = ["python3", layout.runner(bundle.current().digest), "--root", str(self.root)]
        given = json.dumps({"secrets": {"MODEL_KEY": KEY}, "for": ["run"]}).encode()
        subprocess.run(
            [*words, "secrets", "--session", session], input=given, capture_output=True, check=True
        )
        words += ["--containers", f"@{folder}/containers.json", "run", "--session", session]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done)
        return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]

    async def test_a_task_without_a_network_reaches_its_model(self) -> None:
        job = await self.run_job("1")
        with strict_api() as api:
            gateway = {"api": "gemini", "url": api.url, "secret": "MODEL_KEY", "env": {}}
            task = Task("agent", "agent", argv=["python3", "-c", ASK], gateway=gateway, evidence=False)
            events = await asyncio.to_thread(self.run_plan, job.session, task)
            self.assertEqual(api.wrong, [])
        log = (self.root / "jobs" / job.session / "tasks" / "agent.log").read_text()
        said = [json.loads(line) for line in log.splitlines() if line.startswith("[")]
        self.assertIn("one", said[0][0])
        self.assertEqual(said[0][1], len(b"\r\n" + piece("two", 7)))
        self.assertEqual(said[1], ["networks", ["lo"]])
        calls = [event for event in events if event["kind"] == "model_call"]
        self.assertEqual({(call["model"], call["output"]) for call in calls}, {("", 0), ("good", 7)})
        self.assertNotIn(KEY, self.docker("inspect", self.name))
