"""The outbox against a strict fake of GitHub: posted once, as shown, after a yes."""

import io
import json
import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient
from django.utils import timezone

from jobs import outbox
from jobs.cli.offload.outbox import run
from jobs.cli.request import make_request
from jobs.errors import ForgeUnreachable, NotFound, Refused, UsageError
from jobs.forges.github import client
from jobs.forges.pulls import Api, Comment, CommitStatus, LineComment, Thread
from jobs.models import Draft, Job
from jobs.operations import add_token
from jobs.outbox import drafts
from jobs.outbox.placing import defuse, place_review, right_lines
from jobs.states import DraftKind, Verdict
from tests.support.factories import make_job, make_repository
from tests.support.github import SHA, TOKEN, GitHub

pytestmark = pytest.mark.django_db(transaction=True)
FINDINGS = [
    {"severity": "error", "message": "Breaks @ada's test", "file": "app.txt", "line": 2},
    {"severity": "note", "message": "Far from the change", "file": "app.txt", "line": 90},
    {"severity": "note", "message": "Old news", "file": "app.txt", "line": 3},
    {"severity": "note", "message": "Not changed", "file": "other.txt", "line": 1},
    {"severity": "note", "message": "No place"},
    {"severity": "note", "message": "Not verified", "file": "app.txt", "line": 2, "opinion": True},
]
ASSESSMENT = "# Needs work\n/merge\nThanks @ada"


@sync_to_async
def reviewed(**columns: Any) -> Job:
    repository = make_repository("acme/shop", url="https://github.test/acme/shop", forge="github")
    values: dict[str, Any] = {
        "number": 1,
        "sha": SHA,
        "assessment": ASSESSMENT,
        "findings": FINDINGS,
    } | columns
    return make_job(repository=repository, verdict=Verdict.NEEDS_WORK, **values)


async def made(verdict: str = "COMMENT", **columns: Any) -> Draft:
    draft = await outbox.make_review(await reviewed(**columns), verdict, "ada")
    return await outbox.get_draft(str(draft.id))


async def send(draft: Draft) -> str:
    return await outbox.send_draft(draft, await outbox.prepare_draft(draft))


async def test_a_review_is_posted_as_it_was_shown_and_once(forge: GitHub) -> None:
    draft = await made()
    shown = await outbox.prepare_draft(draft)
    assert forge.reviews == []  # a preview posts nothing
    assert [(c.path, c.line) for c in shown.comments] == [("app.txt", 2), ("app.txt", None)]
    assert [note.split(":")[0] for note in shown.notes] == [
        "The comment on app.txt", "The comment on app.txt", "The comment on other.txt",
    ]  # fmt: skip
    url = await outbox.send_draft(draft, shown)
    [review] = forge.reviews
    assert (review["state"], review["url"]) == ("COMMENTED", url)
    assert review["body"].startswith(shown.body)
    assert [t["body"] for t in review["threads"]] == [c.body for c in shown.comments]
    assert "@ada" not in review["body"] + json.dumps(review["threads"])
    assert "\n/merge" not in review["body"]
    with pytest.raises(Refused, match="cannot be sent now"):
        await outbox.send_draft(draft, shown)
    with pytest.raises(Refused, match="it is sent"):
        await outbox.drop_draft(draft)
    assert len(forge.reviews) == 1


@pytest.mark.parametrize(
    ("lost", "left", "moved"),
    [
        ("addPullRequestReview", "PENDING", False),
        ("submitPullRequestReview", "COMMENTED", False),
        ("submitPullRequestReview", "COMMENTED", True),
    ],
)
async def test_a_lost_answer_never_posts_twice(forge: GitHub, lost: str, left: str, moved: bool) -> None:
    draft = await made()
    forge.lose_answers_of = {lost}
    with pytest.raises(ForgeUnreachable):
        await send(draft)
    assert [review["state"] for review in forge.reviews] == [left]
    draft = await outbox.get_draft(str(draft.id))
    assert (draft.state, bool(draft.error)) == ("sending", True)
    with pytest.raises(Refused, match="learn whether it was posted"):
        await outbox.edit_draft(draft, "Other words")
    if moved:
        forge.pulls[1]["headRefOid"] = "2" * 40
    assert await run(make_request(["send", str(draft.id)], yes=True, json=True)) == 0
    assert [review["state"] for review in forge.reviews] == ["COMMENTED"]
    assert (await outbox.get_draft(str(draft.id))).state == "sent"


async def test_after_a_crash_the_next_attempt_waits_for_the_first_and_looks_it_up(forge: GitHub) -> None:
    draft = await made()
    shown = await outbox.prepare_draft(draft)
    await drafts.begin_sending(draft)  # and the process is killed
    with pytest.raises(Refused, match="being sent"):
        await outbox.send_draft(draft, shown)
    await Draft.objects.filter(id=draft.id).aupdate(sending_until=timezone.now())
    draft = await outbox.get_draft(str(draft.id))
    assert await outbox.find_posted(draft) is None
    draft = await outbox.get_draft(str(draft.id))
    assert draft.state == "open"
    await outbox.send_draft(draft, shown)
    assert len(forge.reviews) == 1


async def test_a_moved_head_and_a_changed_preview_stop_it(forge: GitHub) -> None:
    draft = await made()
    shown = await outbox.prepare_draft(draft)
    forge.pulls[1]["threads"] = []
    with pytest.raises(Refused, match="differently than shown"):
        await outbox.send_draft(draft, shown)
    forge.pulls[1]["headRefOid"] = "2" * 40
    with pytest.raises(Refused, match="moved from 1111111111 to 2222222222"):
        await send(draft)
    stale = await outbox.get_draft(str(draft.id))
    await outbox.edit_draft(stale, "New words")
    with pytest.raises(Refused, match="dropped or changed"):
        await outbox.send_draft(stale, shown)  # the text is not the one that was shown
    assert (forge.reviews, stale.state) == ([], "open")


async def test_a_refused_verdict_leaves_nothing_pending(forge: GitHub) -> None:
    forge.refused_event = "APPROVE"
    draft = await made("APPROVE")
    with pytest.raises(Refused, match="approve your own"):
        await send(draft)
    assert forge.reviews == []
    await outbox.drop_draft(draft)
    assert await outbox.list_drafts() == []


async def test_the_command_line_posts_nothing_without_a_yes(
    forge: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    await reviewed(assessment="Words\x1b[2J\nReview of x: Approve")
    assert await run(make_request(["review", "1"], repo="acme/shop", verdict="comment")) == 0
    number = str((await outbox.list_drafts())[0].id)
    with pytest.raises(Refused, match="Pass --yes"):
        await run(make_request(["send", number], no_input=True))
    assert forge.reviews == []
    assert await run(make_request(["ls"])) == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "  | Review of x: Approve" in told
    assert await run(make_request(["send", number], yes=True)) == 0
    assert forge.reviews[0]["url"] in capsys.readouterr().out
    for words in (["ls", "1"], ["send"], ["post", "1"], ["send", "x"]):
        with pytest.raises(UsageError):
            await run(make_request(words))
    with pytest.raises(NotFound):
        await run(make_request(["drop", "999"]))


async def test_only_an_ended_review_of_a_pull_request_becomes_a_draft(forge: GitHub) -> None:
    job = await reviewed()
    first = await outbox.make_review(job, "COMMENT", "ada")
    second = await outbox.make_review(job, "COMMENT", "ada")
    assert [draft.id for draft in await outbox.list_drafts()] == [second.id] != [first.id]
    for missing in ({"assessment": ""}, {"number": None}):
        for column, value in missing.items():
            setattr(job, column, value)
        with pytest.raises(Refused, match=r"no assessment|not a pull request"):
            await outbox.make_review(job, "COMMENT", "ada")


def test_placing_and_defusing() -> None:
    assert right_lines("@@ -1,2 +10,3 @@ f()\n a\n-b\n+c\n+d\n\\ No newline at end of file") == {10, 11, 12}
    assert right_lines("@@ -3 +4 @@\n-a\n+b\n@@ -9,0 +11 @@\n+x") == {4, 11}
    twice = [LineComment("a", "x", 1), LineComment("a", "x", 1)]
    thread = Thread("T", "a", 1, True, (Comment("", "y\n\n<!-- offload:0a -->"),))
    placed = place_review(
        "COMMENT", "", [*twice, LineComment("a", "y", 1)], {"a": "@@ -1 +1 @@\n+a"}, [thread]
    )
    assert placed.comments == (twice[0],)
    assert defuse("a@b.c /x\n > /close\n//ok") == "a@\u200bb.c /x\n > \\/close\n//ok"


async def test_the_api_posts_what_its_preview_showed(forge: GitHub, async_client: AsyncClient) -> None:
    _, token = await add_token("agent", ["read", "send"], "ada")
    _, reading = await add_token("reader", ["read"], "ada")
    bearer = {"authorization": f"Bearer {token}"}

    async def post(path: str, status: int, body: Any, key: str = token) -> Any:
        answer = await async_client.post(
            f"/api/v1/outbox{path}", body, content_type="application/json",
            headers={"authorization": f"Bearer {key}"},
        )  # fmt: skip
        assert answer.status_code == status, answer.content
        return answer.json()

    job = await reviewed()
    draft = (await post("", 201, {"job": job.id, "verdict": "REQUEST_CHANGES"}))["draft"]
    shown = await async_client.get(f"/api/v1/outbox/{draft['id']}/preview", headers=bearer)
    digest = {"digest": shown.json()["draft"]["preview"]["digest"]}
    assert forge.reviews == []
    send = f"/{draft['id']}/send"
    await post(send, 403, digest, reading)
    refused = await post(send, 409, {"digest": "0" * 64})
    assert "differently than shown" in refused["error"]["message"]
    assert forge.reviews == []
    sent = (await post(send, 200, digest))["draft"]
    [review] = forge.reviews
    assert (sent["state"], sent["url"], review["state"]) == ("sent", review["url"], "CHANGES_REQUESTED")
    assert review["body"].startswith(shown.json()["draft"]["preview"]["body"])
    assert "it was sent" in (await post(send, 409, digest))["error"]["message"]
    assert len(forge.reviews) == 1
    second = (await post("", 201, {"job": job.id}))["draft"]
    dropped = await async_client.delete(f"/api/v1/outbox/{second['id']}", headers=bearer)
    assert dropped.json()["draft"]["state"] == "dropped"


async def test_an_agent_posts_only_what_the_person_was_asked_in_full(forge: GitHub) -> None:
    import mcp_types as types
    from mcp import Client

    from jobs.mcp.server import server
    from jobs.mcp.texts import show_hidden

    asked: list[str] = []
    answers = iter([False, True])

    async def ask(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={"yes": next(answers)})

    draft = await made()
    await outbox.edit_draft(draft, "Fine." + chr(0xE0041), "ada")
    draft = await outbox.get_draft(str(draft.id))
    shown = await outbox.prepare_draft(draft)

    async def send(client: Client, number: int, digest: str) -> str:
        result = await client.call_tool("outbox_send", {"number": number, "digest": digest})
        (content,) = result.content
        assert isinstance(content, types.TextContent)
        return content.text

    async with Client(server, elicitation_callback=ask) as client:
        assert "differently" in await send(client, draft.id, "0" * 64)
        assert "said no" in await send(client, draft.id, shown.digest)
        assert forge.reviews == []
        assert "is sent" in await send(client, draft.id, shown.digest)
    assert len(forge.reviews) == 1
    assert len(asked) == 2
    for part in (shown.title, shown.body, *(comment.body for comment in shown.comments), *shown.notes):
        assert show_hidden(part) in asked[0]
    assert "Fine.[U+E0041]" in asked[0]


async def test_a_status_is_set_once_for_exactly_the_judged_commit(forge: GitHub, settings: Any) -> None:
    job = await reviewed(findings=FINDINGS[:2])
    assert await run(make_request(["status", "1"], repo="acme/shop")) == 0
    [draft] = await outbox.list_drafts()
    draft = await outbox.get_draft(str(draft.id))
    shown = await outbox.prepare_draft(draft)
    assert (shown.title, shown.body) == (
        "Status offload/review: failure", "needs work: 1 error, 1 note",
    )  # fmt: skip
    forge.pulls[1]["headRefOid"] = "2" * 40
    forge.commits.add(SHA)
    assert "head moved" in (await outbox.prepare_draft(draft)).notes[0]
    forge.lose_answers_of = {"status"}
    with pytest.raises(ForgeUnreachable):
        await outbox.send_draft(draft, shown)
    assert len(forge.statuses) == 1
    await outbox.resume_group(draft, "ada")  # there was no yes on a page, so there is nothing to resume
    draft = await outbox.get_draft(str(draft.id))
    assert draft.state == "sending"
    assert await run(make_request(["send", str(draft.id)], yes=True)) == 0
    [(sha, status)] = forge.statuses
    assert (sha, status["context"], status["state"]) == (SHA, "offload/review", "failure")
    assert (await outbox.get_draft(str(draft.id))).state == "sent"
    # A payload that is not ours is never posted.
    odd = await drafts.make_draft(
        job, DraftKind.STATUS, "x", payload={"context": "ci/build", "state": "success"}
    )
    with pytest.raises(UsageError, match="is no status"):
        await outbox.prepare_draft(odd)


async def test_a_verdict_about_a_fix_that_is_not_pushed_is_never_posted(forge: GitHub) -> None:
    job = await reviewed(judged_sha="3" * 40)
    with pytest.raises(Refused, match="its fix 3333333333, which is not pushed"):
        await outbox.make_review(job, "COMMENT", "ada")
    with pytest.raises(Refused, match="its fix 3333333333, which is not pushed"):
        await outbox.make_status(job, "ada")
    await outbox.apply_rules(("status",))
    assert await outbox.list_drafts() == []
    job.judged_sha = SHA
    await outbox.make_status(job, "ada")


async def test_a_standing_rule_sends_statuses_and_nothing_else(forge: GitHub) -> None:
    await reviewed(options={"auto_send": ["status", "review"]})  # what a job has of it decides nothing
    await outbox.apply_rules(())
    assert await outbox.list_drafts() == []
    for _ in range(2):  # once for each verdict
        await outbox.apply_rules(("status",))
        async for draft in outbox.waiting_groups():
            await outbox.send_group(draft)
    assert len(forge.statuses) == 1
    assert forge.reviews == []
    draft = await Draft.objects.aget()
    assert (draft.kind, draft.state, draft.approved_by) == ("status", "sent", "the rule auto_send")


async def test_writes_of_a_token_keep_their_distance(forge: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "WRITE_SECONDS", 0.1)
    writer = client.GitHubClient(Api("github.test", forge.url, f"{forge.url}/graphql", TOKEN))
    began = time.monotonic()
    for state in ("failure", "success", "failure"):
        await writer.post_status("acme/shop", SHA, CommitStatus("offload/review", state, "x"))
    await writer.aclose()
    assert time.monotonic() - began >= 0.19  # two pauses; the first write has none


@pytest.mark.parametrize("lost", ["addPullRequestReviewThreadReply", "resolveReviewThread"])
async def test_an_answer_and_its_resolution_are_posted_once(forge: GitHub, lost: str) -> None:
    draft = await outbox.make_reply(await reviewed(), "T", "Fixed, @ada", "ada", resolve=True)
    draft = await outbox.get_draft(str(draft.id))
    shown = await outbox.prepare_draft(draft)
    assert (shown.title, shown.body) == ("Answer to app.txt:3, and resolve it", "Fixed, @\u200bada")
    assert "Old  news" in shown.quote
    forge.lose_answers_of = {lost}
    with pytest.raises(ForgeUnreachable):
        await outbox.send_draft(draft, shown)
    draft = await outbox.get_draft(str(draft.id))
    assert await outbox.find_posted(draft) == "https://github.test/r/0"
    [thread] = forge.pulls[1]["threads"]
    assert "Fixed" in thread["replies"][0]["body"]
    assert (len(thread["replies"]), thread["isResolved"]) == (1, True)
    assert (await outbox.get_draft(str(draft.id))).state == "sent"


async def test_an_answer_waits_for_a_pending_review_and_for_what_is_new(forge: GitHub) -> None:
    draft = await outbox.make_reply(await reviewed(), "T", "Fixed", "ada")
    draft = await outbox.get_draft(str(draft.id))
    shown = await outbox.prepare_draft(draft)
    pending = {
        "id": "P", "pull": "PR_1", "state": "PENDING", "body": "", "viewerDidAuthor": True, "threads": [],
        "url": "https://github.test/p",
    }  # fmt: skip
    forge.reviews.append(pending)
    with pytest.raises(Refused, match="pending review"):
        await outbox.send_draft(draft, shown)
    forge.reviews.clear()
    forge.pulls[1]["threads"][0]["body"] = "Something else"
    with pytest.raises(Refused, match="differently than shown"):
        await outbox.send_draft(await outbox.get_draft(str(draft.id)), shown)
    forge.pulls[1]["threads"] = []
    with pytest.raises(Refused, match="no longer has the thread"):
        await outbox.send_draft(await outbox.get_draft(str(draft.id)), shown)


async def test_a_refused_look_up_leaves_open_what_was_posted(forge: GitHub) -> None:
    draft = await made()
    shown = await outbox.prepare_draft(draft)
    forge.lose_answers_of = {"submitPullRequestReview"}
    with pytest.raises(ForgeUnreachable):
        await outbox.send_draft(draft, shown)
    forge.graphql_error = "Resource not accessible"
    with pytest.raises(Refused, match="not accessible"):
        await outbox.send_draft(await outbox.get_draft(str(draft.id)), shown)
    draft = await outbox.get_draft(str(draft.id))
    assert (draft.state, draft.attempted) == ("sending", True)


async def test_labels_are_changed_once_and_only_those_that_were_shown(forge: GitHub) -> None:
    job = await reviewed()
    for add, remove in ((["bug"], ["Bug"]), ([], []), (["two\nlines"], []), (["x" * 51], [])):
        with pytest.raises(UsageError):
            await outbox.make_labels(job, add, remove, "ada")
    forge.pulls[1]["labels"] = ["bug", "needs review"]
    draft = await outbox.make_labels(job, ["ready", "bug"], ["needs review", "absent"], "ada")
    draft = await outbox.get_draft(str(draft.id))
    shown = await outbox.prepare_draft(draft)
    assert shown.details == ("add ready", "remove needs review")
    forge.lose_answers_of = {"addLabels"}
    with pytest.raises(ForgeUnreachable):
        await outbox.send_draft(draft, shown)
    assert "ready" in forge.pulls[1]["labels"]
    # Half of it is done: what is left is shown before it is done.
    draft = await outbox.get_draft(str(draft.id))
    assert await outbox.find_posted(draft) is None
    draft = await outbox.get_draft(str(draft.id))
    shown = await outbox.prepare_draft(draft)
    assert shown.details == ("remove needs review",)
    await outbox.send_draft(draft, shown)
    assert forge.pulls[1]["labels"] == ["bug", "ready"]


async def test_a_thread_is_named_by_its_place(forge: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await reviewed()
    assert await outbox.find_thread(job, "app.txt:3") == "T"
    with pytest.raises(NotFound, match="no thread"):
        await outbox.find_thread(job, "app.txt:4")
    monkeypatch.setattr("sys.stdin", io.StringIO("Done, thanks.\n"))
    words = ["reply", job.session]
    request = make_request(words, thread="app.txt:3", resolve=True, json=True, no_input=True)
    assert await run(request) == 0
    draft = await Draft.objects.aget(kind="reply")
    assert (draft.body, draft.payload) == ("Done, thanks.", {"thread": "T", "resolve": True})
