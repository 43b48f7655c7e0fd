"""The outbox: list, one, make, drop, and send what was shown."""

from __future__ import annotations

from typing import Literal

from django.http import HttpRequest
from ninja import Router, Schema
from ninja.responses import Status
from pydantic import Field, model_validator

from jobs import outbox
from jobs.api.access import caller_of, needs
from jobs.api.answers import DraftAnswer, DraftsAnswer, Id, PreviewAnswer
from jobs.operations import read_job
from jobs.serializers import SCHEMA, draft_json, preview_json
from jobs.states import Scope

router = Router(tags=["outbox"])
READ = needs(Scope.READ)
SEND = needs(Scope.SEND)


class NewDraftBody(Schema):
    """What to draft of a job: a review from its assessment, a commit status from its verdict, a push of the
    commits in its worktree, labels, or an answer.

    `verdict`: a review's; the person's, not the job's. `thread`, `body`, `resolve`: an answer's; `thread` is
    the forge's id.
    """

    job: Id
    kind: Literal["review", "status", "push", "pull_request", "labels", "reply"] = "review"
    verdict: Literal["COMMENT", "APPROVE", "REQUEST_CHANGES"] = "COMMENT"
    thread: str = Field("", max_length=200)
    body: str = Field("", max_length=65_000, pattern=r"^[^\x00]*$")
    resolve: bool = False
    add: list[str] = Field(default_factory=list, max_length=20, description="Labels to give.")
    remove: list[str] = Field(default_factory=list, max_length=20, description="Labels to take.")

    @model_validator(mode="after")
    def _names_its_thread(self) -> NewDraftBody:
        if self.kind == "reply" and not (self.thread and self.body.strip()):
            raise ValueError("an answer needs thread and body")
        return self


class EditBody(Schema):
    """New texts of a draft. `verdict`: a review's. `comments`: the texts of all its comments, in order."""

    revision: int = Field(
        ge=0, description="Of the draft that was edited: an edit of a later one is refused."
    )
    body: str = Field(max_length=65_000, pattern=r"^[^\x00]*$")
    verdict: Literal["COMMENT", "APPROVE", "REQUEST_CHANGES"] | None = None
    comments: list[str] | None = Field(None, max_length=50, description="An empty one leaves it out.")


class SendBody(Schema):
    """What the person said yes to."""

    digest: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the preview that was shown.")


async def _answer(number: int) -> DraftAnswer:
    return {"schema": SCHEMA, "draft": draft_json(await outbox.get_draft(str(number)))}


@router.get("", auth=READ, response={200: DraftsAnswer}, summary="List drafts")
async def list_drafts(request: HttpRequest) -> DraftsAnswer:
    """Return the drafts that were neither sent nor dropped."""
    return {"schema": SCHEMA, "drafts": [draft_json(draft) for draft in await outbox.list_drafts()]}


@router.get("/{int:number}", auth=READ, response={200: DraftAnswer}, summary="One draft")
async def get_draft(request: HttpRequest, number: Id) -> DraftAnswer:
    """Return a draft."""
    return await _answer(number)


@router.get("/{int:number}/preview", auth=READ, response={200: PreviewAnswer}, summary="Preview a draft")
async def preview(request: HttpRequest, number: Id) -> PreviewAnswer:
    """Return a draft exactly as it would appear now. The forge is asked for the diff; nothing is posted."""
    draft = await outbox.get_draft(str(number))
    shown = await outbox.prepare_draft(draft)
    return {"schema": SCHEMA, "draft": {**draft_json(draft), "preview": preview_json(shown)}}


@router.post("", auth=SEND, response={201: DraftAnswer}, summary="Make a draft")
async def make(request: HttpRequest, body: NewDraftBody) -> Status[DraftAnswer]:
    """Make a draft of a job. Nothing is posted."""
    job, name = await read_job(body.job), caller_of(request).name
    if body.kind == "review":
        draft = await outbox.make_review(job, body.verdict, name)
    elif body.kind == "status":
        draft = await outbox.make_status(job, name)
    elif body.kind == "push":
        draft = await outbox.make_push(job, name)
    elif body.kind == "pull_request":
        draft = await outbox.make_pull(job, name)
    elif body.kind == "labels":
        draft = await outbox.make_labels(job, body.add, body.remove, name)
    else:
        draft = await outbox.make_reply(job, body.thread, body.body, name, resolve=body.resolve)
    return Status(201, await _answer(draft.id))


@router.patch("/{int:number}", auth=SEND, response={200: DraftAnswer}, summary="Edit a draft")
async def edit(request: HttpRequest, number: Id, body: EditBody) -> DraftAnswer:
    """Replace the texts of a draft. Refused when it was changed since the revision that is named."""
    draft = await outbox.get_draft(str(number))
    draft.revision = body.revision
    name = caller_of(request).name
    await outbox.edit_draft(draft, body.body, name, verdict=body.verdict, comments=body.comments)
    return await _answer(number)


@router.delete("/{int:number}", auth=SEND, response={200: DraftAnswer}, summary="Drop a draft")
async def drop(request: HttpRequest, number: Id) -> DraftAnswer:
    """Drop a draft, so that it is never sent."""
    await outbox.drop_draft(await outbox.get_draft(str(number)), caller_of(request).name)
    return await _answer(number)


@router.post("/{int:number}/send", auth=SEND, response={200: DraftAnswer}, summary="Send a draft")
async def send(request: HttpRequest, number: Id, body: SendBody) -> DraftAnswer:
    """Post a draft, once, as the preview with this digest showed it; after a person said yes to that."""
    await outbox.send_shown(number, body.digest, caller_of(request).name)
    return await _answer(number)
