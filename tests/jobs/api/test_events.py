"""The stream of events, in this process and from a real server."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient

from jobs.api import events
from jobs.models import JobEvent
from jobs.operations import TAIL, add_token, feed, remove_token
from jobs.states import Attention
from jobs.transitions import aset_attention
from tests.jobs.api.conftest import Served
from tests.support.factories import make_job


def read(text: str) -> list[dict[str, Any]]:
    """The events of a part of a stream."""
    fields = [line.partition(": ") for line in text.splitlines() if line]
    assert {name for name, _, _ in fields} <= {"retry", "id", "data", ""}
    shown = [json.loads(value) for name, _, value in fields if name == "data"]
    assert [value for name, _, value in fields if name == "id"] == [str(event["id"]) for event in shown]
    return shown


async def left() -> None:
    """Wait until nothing is left of a stream that was closed."""
    async with asyncio.timeout(10):
        while TAIL._listeners or TAIL._task is not None or events.OPEN:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def follow(
    client: AsyncClient, token: str, query: str = "", **headers: str
) -> AsyncGenerator[str, None]:
    bearer = {"authorization": f"Bearer {token}", **headers}
    answer: Any = await client.get(f"/api/v1/events{query}", headers=bearer)
    assert answer["content-type"] == "text/event-stream", answer.content
    try:
        async for part in answer.streaming_content:
            yield part.decode()
    finally:
        await sync_to_async(answer.close)()  # as Django's server does when the client has left


@pytest.mark.django_db(transaction=True)
async def test_a_stream_replays_follows_and_ends_with_its_token(
    async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = await add_token("ci", ["read"], "ada")
    job = await sync_to_async(make_job)(state="running")
    first = await JobEvent.objects.alatest("id")
    await JobEvent.objects.acreate(job=job, kind="note", data={"text": "a\n\nid: 7\ndata: b"})
    async with asyncio.timeout(20), aclosing(follow(async_client, token, "?since=0")) as stream:
        assert (await anext(stream)).startswith("retry")
        replayed = read(await anext(stream))
        assert [event["kind"] for event in replayed][-2:] == ["submitted", "note"]
        assert replayed[-1]["data"]["text"] == "a\n\nid: 7\ndata: b"
        await aset_attention(job.id, Attention.INPUT)
        new = read(await anext(stream))
        assert [(event["job"], event["id"] > replayed[-1]["id"]) for event in new] == [(job.id, True)]
    await left()
    resumed = follow(async_client, token, **{"last-event-id": str(first.id)})
    async with asyncio.timeout(20), aclosing(resumed) as stream:
        await anext(stream)
        assert [event["id"] for event in read(await anext(stream))] == [replayed[-1]["id"], new[0]["id"]]
        await remove_token("ci")
        monkeypatch.setattr(feed, "PING_SECONDS", 0.0)
        assert [part async for part in stream] == []
    await left()


@pytest.mark.django_db(transaction=True)
async def test_a_stream_has_limits(async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    _, token = await add_token("ci", ["read"], "ada")
    bearer = {"authorization": f"Bearer {token}"}
    await JobEvent.objects.abulk_create(JobEvent(kind="note") for _ in range(events.MOST_MISSED + 1))
    first = await JobEvent.objects.aearliest("id")
    refused = await async_client.get(f"/api/v1/events?since={first.id - 1}", headers=bearer)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "usage")
    async with aclosing(follow(async_client, token, f"?since={first.id}")) as stream:
        await anext(stream)
        pages = [read(await anext(stream)) for _ in range(events.MOST_MISSED // events.PAGE)]
        assert len({event["id"] for page in pages for event in page}) == events.MOST_MISSED
        monkeypatch.setattr(events, "MOST_STREAMS", 1)
        busy = await async_client.get("/api/v1/events", headers=bearer)
        assert (busy.status_code, busy.json()["error"]["retryable"]) == (429, True)
    await left()


def test_a_real_server_sends_events_as_they_happen(served: Served) -> None:
    with served.client("read") as client, client.stream("GET", "/events") as stream:
        assert stream.headers["cache-control"] == "no-store"
        lines = stream.iter_lines()
        assert next(lines).startswith("retry")
        served.dashboard.python(
            "from jobs.models import JobEvent\nJobEvent.objects.create(kind='note', data={'text': 'now'})\n"
        )
        data = next(line for line in lines if line.startswith("data") and '"note"' in line)
        assert json.loads(data.removeprefix("data: "))["data"] == {"text": "now"}
    with served.client("launch") as client:
        assert client.get("/events").status_code == 403


def test_a_client_that_leaves_makes_room(served: Served) -> None:
    with served.client("read") as client:
        for _ in range(events.MOST_STREAMS + 5):
            with client.stream("GET", "/events") as stream:
                assert stream.status_code == 200
