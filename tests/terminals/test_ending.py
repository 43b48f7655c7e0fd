"""Who works in a terminal is told in time that its machine stops."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

from django.test import TransactionTestCase
from django.utils import timezone

from jobs import workers
from jobs.models import Job, Repository, Worker
from terminals import frames
from terminals.bridge import Bridge
from terminals.live import RECHECK_EVERY, Registry


async def allowed() -> bool:
    return True


class Ending(TransactionTestCase):
    async def test_it_is_said_once_and_taken_back(self) -> None:
        now = timezone.now().replace(microsecond=0)
        worker = await self._worker(now + timedelta(hours=3))
        repository = await Repository.objects.acreate(slug="acme/shop", short="shop", url="/x", forge="plain")
        job = await Job.objects.acreate(
            repository=repository, worker=worker, session="offload-shop-1", target="#1", ref="x",
            action="review", state="running",
        )  # fmt: skip
        sent: list[dict[str, Any]] = []
        pinged = asyncio.Event()

        async def send(message: Any) -> None:
            sent.append(json.loads(message["text"]))
            if sent[-1]["t"] == "ping":
                pinged.set()

        registry = Registry()
        opening = frames.parse_opening(b"cols=80&rows=24&mode=drive&tab=a")
        bridge = Bridge(job_id=job.id, kind="session", actor="mira", opening=opening, send=send)
        entry = registry.add(bridge, cap=1, login="", allowed=allowed, ending=lambda: workers.ending(job.id))
        pump = asyncio.create_task(bridge.pump())

        async def told() -> list[Any]:
            entry.checked_at -= RECHECK_EVERY
            await registry.check(entry)
            bridge.ping()  # behind what was said: once it is out, so is that
            pinged.clear()
            async with asyncio.timeout(10):
                await pinged.wait()
            said = [one["parts"] for one in sent if one["t"] == "ending"]
            sent.clear()
            return said

        try:
            self.assertEqual(await told(), [[]], "a page that comes back may know of an end")
            soon = now + timedelta(minutes=12)
            await self._deadline(worker, soon)
            why = " because its longest run time is used up then."
            self.assertEqual(await told(), [["Stops at ", soon.timestamp(), why]])
            self.assertEqual(await told(), [], "the same is not said again")
            await self._deadline(worker, now + timedelta(hours=3))
            self.assertEqual(await told(), [[]])
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
            await bridge.aclose()
            registry.remove(entry)

    async def _worker(self, deadline: datetime) -> Worker:
        config = {"project": "p", "zones": ["z"]}
        facts = {"deadline": deadline.isoformat()}
        return await Worker.objects.acreate(
            name="box", provider="gce-cos", root="/r", state="ready", config=config, facts=facts
        )

    async def _deadline(self, worker: Worker, at: datetime) -> None:
        facts = {**worker.facts, "deadline": at.isoformat()}
        await Worker.objects.filter(id=worker.id).aupdate(facts=facts)
