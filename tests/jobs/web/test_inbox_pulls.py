"""The inbox and its pull requests, read from a strict GitHub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import Client
from django.utils import timezone

from jobs.models import PullRequest
from jobs.reconciler.duties import ReadPulls
from jobs.states import Verdict
from offload_web.login import local_user
from tests.support.factories import make_job, make_repository
from tests.support.github import TOKEN, GitHub, github

pytestmark = pytest.mark.django_db(transaction=True)

FAILED = {
    "__typename": "CheckRun", "name": "test", "status": "COMPLETED", "conclusion": "FAILURE",
    "detailsUrl": "https://ci.test/1", "required": True,
}  # fmt: skip


@pytest.fixture
def forge(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[GitHub]:
    monkeypatch.setenv("GIT_TOKEN_GITHUB_TEST", TOKEN)
    with github() as server:
        values = settings.OFFLOAD.values | {"forge_apis": (f"github.test={server.url}",)}
        settings.OFFLOAD = replace(settings.OFFLOAD, home=tmp_path, values=values)
        yield server


def test_the_inbox_shows_what_the_forge_has(
    forge: GitHub, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.force_login(local_user())
    for number in (1, 2, 3):
        forge.add(
            number, title=f"<b>Change</b> {number}", checks=[FAILED | {"name": "<i>unit"}], labels=["<u>bug"],
            threads=[{"id": "T1", "isResolved": False, "path": "a", "line": 1, "body": "<s>Why?"}],
        )  # fmt: skip
    shop = make_repository("acme/shop", url="https://github.test/acme/shop", forge="github")
    make_job(repository=shop, number=1, verdict=Verdict.PASS)
    make_job(repository=shop, number=2, verdict=Verdict.PASS, removed_at=timezone.now())
    make_job(repository=make_repository("demo"))  # its forge has no client

    def read() -> tuple[int, str]:
        answer = client.post("/inbox/pulls/", headers={"HX-Request": "true"})
        return answer.status_code, answer.content.decode()

    assert read() == (200, "The pull requests are as their forges have them.")
    page = client.get("/").content.decode()
    assert "&lt;b&gt;Change&lt;/b&gt; 1" in page
    assert "1 of 1 checks failed: &lt;i&gt;unit" in page
    assert "<span>1 open thread</span><span>&lt;u&gt;bug</span>" in page
    assert 'aria-label="Review #3"' in page
    assert 'aria-label="Review #2"' not in page  # it has had a job
    assert [row.number for row in PullRequest.objects.exclude(details_at=None)] == [1]
    # What was read within a minute is not read again; later, half of the limit is left to commands.
    before = len(forge.requests)
    assert read()[0] == 200
    assert len(forge.requests) == before
    make_job(repository=shop, number=3)
    PullRequest.objects.update(details_at=timezone.now() - timedelta(hours=1))
    monkeypatch.delenv("GIT_TOKEN_GITHUB_TEST")
    forge.limit, forge.used = 60, 29
    assert read()[0] == 200
    assert len(forge.requests) == before + 3  # one of the two
    # A forge that does not answer is said; the reconciler goes on.
    PullRequest.objects.update(fetched_at=timezone.now() - timedelta(hours=1))
    forge.used = forge.limit
    status, text = read()
    assert (status, "no further request until" in text) == (409, True)

    @async_to_sync
    async def reconcile() -> list[object]:
        works = [work async for work in ReadPulls().find()]
        for work in works:
            await work.run()
        return [work.key for work in works]

    assert reconcile() == [shop.id]
    assert client.get("/").status_code == 200
