"""The outbox's pages: what they show, and that nothing is sent but what a person saw and said yes to."""

import re
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient

from jobs import outbox
from jobs.models import Draft, Job, JobEvent
from jobs.operations import add_token
from jobs.reconciler.duties import SendDrafts
from jobs.states import Verdict
from offload_web.login import local_user
from tests.support.factories import make_job, make_repository
from tests.support.github import SHA, GitHub

pytestmark = pytest.mark.django_db(transaction=True)
HOSTILE = (
    "<script>pwned=1</script> <img src=x onerror=pwned=1> [a](javascript:pwned=1) "
    "![b](https://evil.test/x.png) <svg/onload=pwned=1> \"'><b>{{7*7}}{% now %}"
)
FINDINGS = [
    {"severity": "error", "message": f"First {HOSTILE}", "file": "app.txt", "line": 2},
    {"severity": "note", "message": "Far from the change", "file": "app.txt", "line": 90},
    {"severity": "note", "message": "Old news", "file": "app.txt", "line": 3},
]


@sync_to_async
def reviewed(number: int = 1, **columns: Any) -> Job:
    repository = make_repository("acme/shop", url="https://github.test/acme/shop", forge="github")
    values = {"sha": SHA, "assessment": "# Needs work", "findings": FINDINGS, "title": "Change"} | columns
    return make_job(repository=repository, verdict=Verdict.NEEDS_WORK, number=number, **values)


@pytest.fixture
async def browser(async_client: AsyncClient) -> AsyncClient:
    await async_client.aforce_login(await sync_to_async(local_user)())
    return async_client


async def page_of(browser: AsyncClient, path: str) -> str:
    answer = await browser.get(path)
    assert answer.status_code == 200, answer.content
    return str(answer.content.decode())


async def reconcile() -> None:
    """One tick of the duty, and the end of its work."""
    keys = set()
    async for work in SendDrafts().find():
        if work.key not in keys:
            keys.add(work.key)
            await work.run()


def yeses(page: str) -> list[str]:
    return re.findall(r'name="yes"\s+value="([^"]+)"', page)


async def test_a_draft_is_shown_edited_and_sent_after_a_yes(forge: GitHub, browser: AsyncClient) -> None:
    job = await reviewed()
    assert "Draft a review" in await page_of(browser, f"/jobs/{job.id}/")
    answer = await browser.post(f"/jobs/{job.id}/draft/")
    path = answer["Location"]
    listed = await page_of(browser, "/outbox/")
    assert 'id="outbox-count">1<' in listed
    assert "acme/shop#1" in listed
    page = await page_of(browser, path)
    assert forge.reviews == []  # looking posts nothing
    assert '<td class="no" data-no="2"></td><td><code><span class="sign">+</span>two</code>' in page
    assert "a thread says the same" in page
    assert "the line is outside of the diff" in page
    # An edit is kept, and makes the yes to the earlier text void.
    [old] = yeses(page)
    texts = {"verdict": "REQUEST_CHANGES", "body": "Mine\r\n\r\n/merge", "comment": ["Look here", "", ""]}
    answer = await browser.post(f"{path}edit/", texts | {"revision": "0"})
    assert answer.status_code == 302
    late = await browser.post(f"{path}edit/", texts | {"revision": "0", "body": "Late <i>"})
    assert (late.status_code, b"changed meanwhile" in late.content) == (409, True)
    assert b"Late &lt;i&gt;" in late.content  # what was typed is not lost
    await browser.post(f"{path}send/", {"yes": [old, "x", "9:" + "0" * 64]})
    await reconcile()
    assert forge.reviews == []
    assert "differently than shown" in await page_of(browser, path)
    await browser.post(f"{path}send/", {"yes": yeses(await page_of(browser, path))})
    assert "is sent soon" in await page_of(browser, path)
    await reconcile()
    [review] = forge.reviews
    assert (review["state"], [t["body"] for t in review["threads"]]) == ("CHANGES_REQUESTED", ["Look here"])
    assert review["body"].startswith("Mine\n\n/merge")
    assert review["url"] in await page_of(browser, "/outbox/")
    assert 'id="outbox-count"' not in await page_of(browser, path)
    events = JobEvent.objects.filter(job=job, kind="draft").values_list("data__state", flat=True)
    told = [state async for state in events.order_by("id")]
    assert told == ["made", "edited", "approved", "failed", "approved", "sent"]
    page = await page_of(browser, f"/jobs/{job.id}/")
    assert re.search(r"Draft \d+ \(review\) was sent", page)


async def test_the_second_of_two_editors_is_told_and_loses_nothing(
    forge: GitHub, browser: AsyncClient
) -> None:
    draft = await outbox.make_review(await reviewed(), "COMMENT", "ada")
    path = f"/outbox/{draft.id}/edit/"
    page = await page_of(browser, path)
    places = re.findall(r'name="place" value="([^"]*)"', page)
    first = {"revision": "0", "verdict": "COMMENT", "place": places}
    second = {**first, "verdict": "APPROVE", "body": "Second text"}
    answer = await browser.post(path, {**first, "body": "First text", "comment": ["First on one", "", ""]})
    assert answer.status_code == 302
    late = await browser.post(path, {**second, "comment": ["Second on one", "Second on two", "Second <3"]})
    page = late.content.decode()
    assert (late.status_code, "changed meanwhile" in page) == (409, True)
    assert '<option value="APPROVE" selected>' in page
    fields = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    assert fields == ["Second text", "Second on one"]
    told = re.findall(r'<pre class="log">(.*?)</pre>', page, re.DOTALL)
    assert told == ["First text", "First on one", "Second on two", "Second &lt;3"]
    # Saving after having seen that replaces what the first one wrote.
    [revision] = re.findall(r'name="revision" value="(\d+)"', page)
    again = {**second, "revision": revision, "place": places[:1], "comment": ["Second on one"]}
    assert (await browser.post(path, again)).status_code == 302
    stored = await Draft.objects.aget(id=draft.id)
    assert (stored.body, [one["body"] for one in stored.comments]) == ("Second text", ["Second on one"])


async def test_an_edit_by_the_api_names_the_revision_that_it_changes(
    forge: GitHub, browser: AsyncClient
) -> None:
    draft = await outbox.make_review(await reviewed(), "COMMENT", "ada")
    _, token = await add_token("ops", ["read", "send"], "ada")
    given = {"authorization": f"Bearer {token}"}

    async def edit(**fields: Any) -> Any:
        path = f"/api/v1/outbox/{draft.id}"
        return await browser.patch(path, fields, content_type="application/json", headers=given)

    texts = ["First on one", "", ""]
    answer = await edit(revision=0, body="First", verdict="APPROVE", comments=texts)
    assert answer.status_code == 200, answer.content
    told = answer.json()["draft"]
    assert (answer.status_code, told["body"], told["revision"]) == (200, "First", 1), answer.content
    assert (told["verdict"], [one["body"] for one in told["comments"]]) == ("APPROVE", ["First on one"])
    late = await edit(revision=0, body="Second", comments=texts)
    assert (late.status_code, "changed meanwhile" in late.json()["error"]["message"]) == (409, True)
    wrong = await edit(revision=1, body="Second", comments=texts)
    assert "has 1 comments, not 3" in wrong.json()["error"]["message"]
    stored = await Draft.objects.aget(id=draft.id)
    assert (stored.body, stored.revision, stored.verdict) == ("First", 1, "APPROVE")


async def test_a_half_failed_send_is_resumed_and_posts_once(forge: GitHub, browser: AsyncClient) -> None:
    drafts = [await outbox.make_review(await reviewed(name=name), "COMMENT", "ada") for name in ("", "again")]
    path = f"/outbox/{drafts[0].id}/"
    await browser.post(f"{path}send/", {"yes": yeses(await page_of(browser, path))})
    forge.lose_answers_of = {"submitPullRequestReview"}
    await reconcile()
    assert [review["state"] for review in forge.reviews] == ["COMMENTED"]
    page = await page_of(browser, path)
    assert "may be posted" in page
    assert f"draft {drafts[0].id} failed before it" in page
    await reconcile()  # nothing is tried again without a person
    assert len(forge.reviews) == 1
    await browser.post(f"{path}drop/")
    assert "cannot be dropped" in await page_of(browser, path)
    await browser.post(f"{path}resume/")
    await reconcile()
    assert [draft.state async for draft in Draft.objects.order_by("id")] == ["sent", "sent"]
    assert len(forge.reviews) == 2


async def test_nothing_is_sent_without_a_preview(forge: GitHub, browser: AsyncClient) -> None:
    draft = await outbox.make_review(await reviewed(), "COMMENT", "ada")
    path = f"/outbox/{draft.id}/"
    forge.pulls[1]["headRefOid"] = "2" * 40
    page = await page_of(browser, path)
    assert "moved from 1111111111 to 2222222222" in page
    assert (yeses(page), "Needs work" in page) == ([], True)
    await browser.post(f"{path}send/", {"yes": []})
    assert "Nothing was selected" in await page_of(browser, path)
    answer = await browser.post(f"{path}drop/")
    assert answer["Location"] == "/outbox/"
    for action in ("send", "resume", "drop", "edit"):
        assert (await browser.post(f"/outbox/999/{action}/")).status_code == 404
    assert (await browser.get(f"{path}send/")).status_code == 405
    assert forge.reviews == []


async def test_texts_of_strangers_are_inert_on_every_page(forge: GitHub, browser: AsyncClient) -> None:
    forge.pulls[1] |= {"title": HOSTILE, "files": {"app.txt": f"@@ -1,2 +1,3 @@\n one\n+{HOSTILE}\n three"}}
    odd = [{"severity": "error", "message": HOSTILE, "file": HOSTILE, "line": 1}]
    job = await reviewed(title=HOSTILE, assessment=HOSTILE, findings=FINDINGS + odd)
    draft = await outbox.make_review(job, "COMMENT", "ada")
    paths = [f"/jobs/{job.id}/", "/outbox/", f"/outbox/{draft.id}/", f"/outbox/{draft.id}/edit/"]
    for error in ("", HOSTILE):
        await Draft.objects.filter(id=draft.id).aupdate(error=error)
        for path in paths:
            page = await page_of(browser, path)
            assert "pwned=1" in page
            for tag in (
                "<script>pwned",
                "<img src=x",
                "<svg/",
                "<b>",
                'href="javascript',
                'evil.test/x.png"',
            ):
                assert tag not in page, (path, tag)
            assert "{{7*7}}" in page
