"""Notices by a real command and a real webhook: each event once, one at a time, failures shown."""

import json
import sys
import tempfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.test import TransactionTestCase

from jobs.models import JobEvent
from jobs.operations import check_everything
from jobs.reconciler.duties import NotifyUser
from jobs.reconciler.notices import Notices
from jobs.states import Attention, JobState, Reason, Verdict
from jobs.transitions import move_job, set_attention
from offload_web.config import load
from tests.support.factories import make_job
from tests.support.offload_home import worker_root
from tests.support.serving import serving

# It notes what it was given, and fails when another one runs at the same time.
TELL = """
import json, os, sys, time
folder = sys.argv[1]
os.mkdir(f"{folder}/running")
with open(f"{folder}/told", "a") as file:
    told = {"argv": sys.argv[2:], "token": os.environ.get("NOTIFY_TOKEN"), **json.load(sys.stdin)}
    file.write(json.dumps(told) + "\\n")
os.rmdir(f"{folder}/running")
"""


class NoticesTest(TransactionTestCase):
    def setUp(self) -> None:
        self.tmp = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(worker_root(self.tmp / "w", settings.OFFLOAD.default_worker_root))
        self.script = self.tmp / "tell.py"
        self.script.write_text(TELL)
        command = (sys.executable, str(self.script), str(self.tmp), "--", "{title}", "{message}")
        self.configure(notify=command)

    def configure(self, **values: Any) -> None:
        config = settings.OFFLOAD
        fresh = {**config.values, "worker_root": str(self.tmp / "w"), **values}
        self.enterContext(self.settings(OFFLOAD=replace(config, home=self.tmp / "home", values=fresh)))

    def told(self) -> list[dict[str, Any]]:
        path = self.tmp / "told"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    async def send(self, notices: Notices) -> None:
        for notice in await notices.find():
            await notices.send(notice)

    async def tick(self, duty: NotifyUser) -> None:
        async for work in duty.find():
            await work.run()

    async def test_each_event_is_told_once(self) -> None:
        old = await sync_to_async(make_job)(state=JobState.RUNNING)
        await sync_to_async(move_job)(old.id, JobState.FAILED, reason=Reason.TASK_FAILED)
        duty = NotifyUser()
        await self.tick(duty)
        self.assertEqual(self.told(), [], "what was before notices were on is no news")
        done = await sync_to_async(make_job)(state=JobState.RUNNING, title="-o /etc/passwd", number=7)
        asks = await sync_to_async(make_job)(state=JobState.RUNNING, number=8)
        await sync_to_async(move_job)(
            done.id, JobState.SUCCEEDED, reason=Reason.FINISHED, verdict=Verdict.PASS
        )
        await sync_to_async(set_attention)(asks.id, Attention.APPROVAL)
        await self.tick(duty)
        await self.tick(duty)
        await self.tick(NotifyUser())  # after a restart
        first, second = self.told()
        self.assertEqual((first["kind"], first["job"]), ("done", done.id))
        self.assertEqual(first["title"], "Done: #7 review of acme/tinycart (pass)")
        self.assertEqual(first["argv"], ["--", first["title"], "· -o /etc/passwd"])
        self.assertEqual(
            (second["kind"], second["title"]), ("needs-you", "Needs you: #8 review of acme/tinycart")
        )
        # Answered before it was told, or of a kind that the user left out: nothing.
        await sync_to_async(set_attention)(asks.id, Attention.LIMIT)
        await sync_to_async(set_attention)(asks.id, Attention.NONE)
        self.configure(notify_kinds=("limit",))
        await sync_to_async(move_job)(asks.id, JobState.FAILED, reason=Reason.TASK_FAILED)
        await self.tick(duty)
        self.assertEqual(len(self.told()), 2)

    async def test_a_failure_is_recorded_and_shown(self) -> None:
        self.script.write_text("import sys, time; print('no topic', file=sys.stderr); sys.exit(3)")
        notices = Notices(seconds=20)
        await self.send(notices)
        job = await sync_to_async(make_job)(state=JobState.RUNNING)
        await sync_to_async(set_attention)(job.id, Attention.LIMIT)
        await self.send(notices)
        await self.send(notices)
        event = await JobEvent.objects.aget(kind="notified", job=job)
        self.assertIn("ended with 3: no topic", event.data["error"])
        found = [problem for problem in await check_everything() if problem.subject == "notify"]
        self.assertIn("no topic", found[0].detail)
        # One that does not end is killed, and what it started with it.
        self.script.write_text(
            "import subprocess, sys, time\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
            f"open({str(self.tmp / 'child')!r}, 'w').write(str(child.pid))\ntime.sleep(300)"
        )
        await sync_to_async(set_attention)(job.id, Attention.INPUT)
        await self.send(Notices(seconds=1.5))
        event = await JobEvent.objects.filter(kind="notified", job=job).alatest("id")
        self.assertIn("was killed", event.data["error"])
        pid = int((self.tmp / "child").read_text())
        stat = Path(f"/proc/{pid}/stat")
        self.assertTrue(not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z")
        self.configure(notify=("no-such-program",))
        found = [problem for problem in await check_everything() if problem.subject == "notify"]
        self.assertIn("does not exist", found[0].detail)

    async def test_a_webhook_gets_the_notice_and_the_token(self) -> None:
        got: list[tuple[str, str | None, dict[str, Any]]] = []

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                got.append((self.path, self.headers["Authorization"], body))
                self.send_response(302 if len(got) > 1 else 204)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        with serving(server):
            url = f"http://127.0.0.1:{server.server_port}/hook?x=1"
            self.configure(notify=load({"OFFLOAD_HOME": str(self.tmp), "OFFLOAD_NOTIFY": url}).notify)
            private = self.tmp / "home" / "secrets.private.json"
            private.parent.mkdir(exist_ok=True)
            for path, text in ((private, "hook-secret"), (private.with_name("secrets.json"), "file")):
                path.write_text(json.dumps({"NOTIFY_TOKEN": text}))
                path.chmod(0o600)
            notices = Notices()
            await self.send(notices)
            job = await sync_to_async(make_job)(state=JobState.RUNNING, number=9)
            for attention in (Attention.INPUT, Attention.LIMIT):
                await sync_to_async(set_attention)(job.id, attention)
                await self.send(notices)
        address, bearer, body = got[0]
        self.assertEqual((address, bearer), ("/hook?x=1", "Bearer hook-secret"))
        self.assertEqual((body["kind"], body["job"]), ("needs-you", job.id))
        self.assertIn("#9 review", body["text"])
        self.assertEqual(len(got), 2, "a redirect is not followed")
        event = await JobEvent.objects.filter(kind="notified", job=job).alatest("id")
        self.assertIn("answered 302", event.data["error"])
        # A token that is no value of a header is refused, and not recorded with the reason.
        private.write_text(json.dumps({"NOTIFY_TOKEN": "odd-\nsecret"}))
        private.with_name("secrets.json").write_text(json.dumps({"NOTIFY_TOKEN": "file"}))
        await sync_to_async(set_attention)(job.id, Attention.INPUT)
        await self.send(notices)
        event = await JobEvent.objects.filter(kind="notified", job=job).alatest("id")
        self.assertIn("ValueError", event.data["error"])
        self.assertNotIn("odd-", event.data["error"])

    async def test_what_others_wrote_is_one_short_argument(self) -> None:
        """A branch and a title that are megabytes, options, or hold what no argument can."""
        notices = Notices()
        await self.send(notices)
        odd = "--exec=x \0\x1b]0;x\x07\u202e$(id)`id`\n-n" + "x" * 300_000
        job = await sync_to_async(make_job)(state=JobState.RUNNING, title=odd, target=odd, number=9)
        await sync_to_async(move_job)(job.id, JobState.SUCCEEDED, reason=Reason.FINISHED)
        await self.send(notices)
        (told,) = self.told()
        self.assertEqual(len(told["argv"]), 3)
        for text in (*told["argv"][1:], told["title"], told["message"]):
            self.assertLess(len(text), 600)
            self.assertTrue(text.isprintable(), text)
            self.assertFalse(text.startswith("-"))
