"""The outbox against a strict fake of GitLab: each kind is posted once, as it was shown."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from jobs import outbox
from jobs.errors import ForgeUnreachable, Refused
from jobs.forges.gitlab.posting import old_line
from jobs.models import Draft, Job
from jobs.states import Verdict
from tests.support.factories import make_job, make_repository
from tests.support.gitlab import BASE, PATCH, SHA, TOKEN, GitLab, gitlab

pytestmark = pytest.mark.django_db(transaction=True)
FINDINGS = [
    {"severity": "error", "message": "An added line", "file": "app.txt", "line": 2},
    {"severity": "note", "message": "A line of both", "file": "app.txt", "line": 3},
    {"severity": "note", "message": "Far away", "file": "app.txt", "line": 90},
]
PAGE = "https://gitlab.test/acme/shop/-/merge_requests/1"


@pytest.fixture
def forge(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[GitLab]:
    monkeypatch.setenv("GIT_WRITE_TOKEN_GITLAB_TEST", TOKEN)
    with gitlab() as server:
        values = settings.OFFLOAD.values | {"forge_apis": (f"gitlab.test={server.url}",)}
        settings.OFFLOAD = replace(settings.OFFLOAD, home=tmp_path, values=values)
        server.add(1)
        yield server


@sync_to_async
def reviewed() -> Job:
    repository = make_repository("acme/shop", url="https://gitlab.test/acme/shop", forge="gitlab")
    return make_job(
        repository=repository, verdict=Verdict.NEEDS_WORK, number=1, sha=SHA, assessment="# Needs work",
        findings=FINDINGS,
    )  # fmt: skip


async def again(draft: Draft) -> Draft:
    return await outbox.get_draft(str(draft.id))


async def send(draft: Draft) -> str:
    draft = await again(draft)
    return await outbox.send_draft(draft, await outbox.prepare_draft(draft))


def posted(forge: GitLab) -> list[str]:
    return [path.rpartition("/")[2] for _, path, _ in forge.posts]


async def test_a_review_is_threads_and_a_note(forge: GitLab) -> None:
    draft = await outbox.make_review(await reviewed(), "APPROVE", "ada")
    url = await send(draft)
    assert posted(forge) == ["approve", "discussions", "discussions", "discussions", "notes"]
    places = [body["position"] for _, path, body in forge.posts if path.endswith("discussions")]
    refs = {
        "base_sha": BASE,
        "start_sha": BASE,
        "head_sha": SHA,
        "old_path": "app.txt",
        "new_path": "app.txt",
    }
    assert places == [
        refs | {"position_type": "text", "new_line": 2},
        refs | {"position_type": "text", "new_line": 3, "old_line": 2},
        refs | {"position_type": "file"},
    ]
    assert url == f"{PAGE}#note_104"
    assert (await again(draft)).url == url


async def test_a_review_that_broke_off_is_finished_and_nothing_is_posted_twice(forge: GitLab) -> None:
    draft = await outbox.make_review(await reviewed(), "APPROVE", "ada")
    forge.lose_answers_of = {"discussions"}
    with pytest.raises(ForgeUnreachable):
        await send(draft)
    assert posted(forge) == ["approve", "discussions"]
    assert await outbox.find_posted(await again(draft)) is None
    shown = await outbox.prepare_draft(await again(draft))
    assert [comment.line for comment in shown.comments] == [3, None]
    forge.lose_answers_of = {"notes"}
    with pytest.raises(ForgeUnreachable):
        await send(draft)
    assert await outbox.find_posted(await again(draft)) == f"{PAGE}#note_104"
    assert posted(forge) == ["approve", "discussions", "discussions", "discussions", "notes"]


async def test_what_gitlab_cannot_say_or_the_user_may_not_say_posts_nothing(forge: GitLab) -> None:
    draft = await outbox.make_review(await reviewed(), "REQUEST_CHANGES", "ada")
    with pytest.raises(Refused, match=r"no \*request changes"):
        await send(draft)
    forge.refuses_approval = True
    await outbox.edit_draft(await again(draft), "Fine", verdict="APPROVE")
    with pytest.raises(Refused, match="cannot approve"):
        await send(draft)
    assert forge.posts == []
    assert (await again(draft)).state == "open"


@pytest.mark.parametrize("lost", ["notes", "D1", ""])
async def test_an_answer_and_its_resolution_are_posted_once(forge: GitLab, lost: str) -> None:
    note = {
        "id": 1,
        "author": {"id": 9, "username": "bob"},
        "body": "Why?",
        "resolvable": True,
        "resolved": False,
    }
    place = {"new_path": "app.txt", "new_line": 3, "head_sha": SHA}
    forge.merges[1]["_discussions"] = [{"id": "D1", "notes": [note | {"position": place}]}]
    job = await reviewed()
    thread = await outbox.find_thread(job, "app.txt:3")
    draft = await outbox.make_reply(job, thread, "Because.", "ada", resolve=True)
    if lost:
        forge.lose_answers_of = {lost}
        with pytest.raises(ForgeUnreachable):
            await send(draft)
        assert await outbox.find_posted(await again(draft)) == f"{PAGE}#note_100"
    else:
        await send(draft)
    assert posted(forge) == ["notes", "D1"]
    assert all(one["resolved"] for one in forge.merges[1]["_discussions"][0]["notes"])


async def test_a_status_and_labels(forge: GitLab) -> None:
    job = await reviewed()
    status = await outbox.make_status(job, "ada")
    assert await send(status) == f"https://gitlab.test/acme/shop/-/commit/{SHA}"
    labels = await outbox.make_labels(job, ["ready"], ["bug"], "ada")
    assert await send(labels) == PAGE
    assert [(method, body) for method, _, body in forge.posts] == [
        (
            "POST",
            {"state": "failed", "name": "offload/review", "description": "needs work: 1 error, 2 notes"},
        ),
        ("PUT", {"add_labels": "ready", "remove_labels": "bug"}),
    ]
    assert forge.merges[1]["labels"] == ["ready"]
    # The same verdict again is there already.
    await send(await outbox.make_status(job, "ada"))
    assert len(forge.posts) == 2


def test_the_number_of_a_line_before_the_change() -> None:
    assert [old_line(PATCH, line) for line in (1, 2, 3, 4)] == [1, None, 2, None]
