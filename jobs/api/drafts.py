"""The outbox: list, one."""

from __future__ import annotations

from django.http import HttpRequest
from ninja import Router

from jobs import outbox
from jobs.api.access import needs
from jobs.api.answers import ERRORS, DraftAnswer, DraftsAnswer, Id
from jobs.serializers import SCHEMA, draft_json
from jobs.states import Scope

router = Router(tags=["outbox"])
READ = needs(Scope.READ)


@router.get("", auth=READ, response={200: DraftsAnswer, **ERRORS}, summary="List drafts")
async def list_drafts(request: HttpRequest) -> DraftsAnswer:
    """Return the drafts that were neither sent nor dropped."""
    return {"schema": SCHEMA, "drafts": [draft_json(draft) for draft in await outbox.list_drafts()]}


@router.get("/{int:number}", auth=READ, response={200: DraftAnswer, **ERRORS}, summary="One draft")
async def get_draft(request: HttpRequest, number: Id) -> DraftAnswer:
    """Return a draft."""
    return {"schema": SCHEMA, "draft": draft_json(await outbox.get_draft(str(number)))}
