"""The feed: a change in the table reaches every open page."""

import re
from typing import Any

from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.test import TransactionTestCase
from django.utils import timezone

from jobs.dashboard.live import FeedConsumer
from jobs.models import Job
from jobs.operations import TAIL
from jobs.states import Attention
from jobs.transitions import aset_attention
from tests.support.factories import make_job


async def page(query: str = "") -> Any:
    line = WebsocketCommunicator(FeedConsumer.as_asgi(), f"/ws/feed/{query}")
    connected, _ = await line.connect()
    assert connected
    assert await line.receive_json_from(5) == {"type": "hello"}
    return line


class FeedTests(TransactionTestCase):
    def setUp(self) -> None:
        self.job = make_job(state="running", observed_at=None)

    async def test_every_page_hears_of_a_change_once(self) -> None:
        pages = [await page(), await page()]
        await aset_attention(self.job.id, Attention.INPUT)
        for line in pages:
            assert await line.receive_json_from(5) == {
                "type": "changed",
                "jobs": [self.job.id],
                "workers": [],
            }
        await aset_attention(self.job.id, Attention.NONE)
        for line in pages:
            assert (await line.receive_json_from(5))["jobs"] == [self.job.id]
            assert await line.receive_nothing(0.7)
            await line.disconnect()

    async def test_what_happened_before_is_not_told(self) -> None:
        line = await page()
        assert await line.receive_nothing(0.7)
        other = await sync_to_async(make_job)(state="queued")
        assert (await line.receive_json_from(5))["jobs"] == [other.id]
        await line.disconnect()

    async def test_a_page_hears_of_what_came_while_it_was_on_its_way(self) -> None:
        await self.async_client.aforce_login(await User.objects.acreate_superuser("ann"))
        answer = await self.async_client.get("/")
        found = re.search(r'data-event="(\d+)"', answer.content.decode())
        assert found is not None
        other = await sync_to_async(make_job)(state="queued")
        line = await page(f"?since={found[1]}")
        assert (await line.receive_json_from(5))["jobs"] == [other.id]
        await line.disconnect()
        for nonsense in ("?since=", "?since=x", f"?since={'9' * 40}", "?since=%00"):
            line = await page(nonsense)
            assert await line.receive_nothing(0.1)
            await line.disconnect()

    async def test_an_observation_moves_the_age_only(self) -> None:
        line = await page()
        await Job.objects.filter(id=self.job.id).aupdate(observed_at=timezone.now())
        message = await line.receive_json_from(8)
        assert message["type"] == "seen"
        assert list(message["jobs"]) == [str(self.job.id)]
        await line.disconnect()

    async def test_the_reading_ends_with_the_last_page(self) -> None:
        first, second = await page(), await page()
        await first.disconnect()
        assert TAIL._task is not None
        await second.disconnect()
        assert [TAIL._task, *TAIL._listeners] == [None]
