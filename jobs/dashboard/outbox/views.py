"""The outbox and its buttons. A yes is recorded; the reconciler sends."""

from __future__ import annotations

import re
from collections.abc import Iterable

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from jobs import outbox
from jobs.dashboard.outbox.presenters import DraftView, GroupView, comment_fields, groups_of, pulls_of
from jobs.dashboard.pages import actor_of, render_page
from jobs.errors import NotFound, OffloadError
from jobs.models import Draft
from jobs.states import DraftKind, DraftState

SENT = 10
VERDICTS = (("COMMENT", "Comment"), ("APPROVE", "Approve"), ("REQUEST_CHANGES", "Request changes"))


async def _load(draft_id: int) -> Draft:
    try:
        return await outbox.get_draft(str(draft_id))
    except OffloadError as error:
        raise Http404(str(error)) from None


def _back(draft: Draft) -> HttpResponse:
    return HttpResponseRedirect(reverse("jobs:outbox-group", args=[draft.id]))


def _outbox_context(drafts: Iterable[Draft]) -> dict[str, object]:
    sent = Draft.objects.filter(state=DraftState.SENT).select_related("repository", "job")
    return {
        "groups": groups_of(drafts),
        "sent": [DraftView(draft) for draft in sent.order_by("-sent_at")[:SENT]],
    }


@require_GET
async def outbox_page(request: HttpRequest) -> HttpResponse:
    """List the unsent drafts by pull request, and what was sent last. Does not ask the forge."""
    context = await sync_to_async(_outbox_context)(await outbox.list_drafts())
    return await render_page(request, "outbox/outbox.html", context)


@require_GET
async def group_page(request: HttpRequest, draft_id: int) -> HttpResponse:
    """Show the drafts of one pull request exactly as they will appear; the forge is asked for the diff."""
    drafts = await outbox.list_group(await _load(draft_id))
    asked = [draft for draft in drafts if draft.state == DraftState.OPEN]
    answers = dict(zip((draft.id for draft in asked), await outbox.prepare_group(asked), strict=True))
    views = []
    for draft in drafts:
        answer = answers.get(draft.id)
        if isinstance(answer, OffloadError):
            views.append(DraftView(draft, error=answer))
        else:
            views.append(DraftView(draft, answer))
    pulls = await sync_to_async(pulls_of)(drafts)
    group = GroupView(views, pulls.get((drafts[0].repository_id, drafts[0].number or 0)))
    return await render_page(request, "outbox/group.html", {"group": group, "here": draft_id})


@require_POST
async def send(request: HttpRequest, draft_id: int) -> HttpResponse:
    """Record a yes to the ticked drafts, each by the digest of the preview that the page showed."""
    draft = await _load(draft_id)
    said = [re.fullmatch(r"([0-9]{1,12}):([0-9a-f]{64})", value) for value in request.POST.getlist("yes")]
    digests = {int(match[1]): match[2] for match in said if match}
    group = {one.id for one in await outbox.list_group(draft)}
    chosen = {number: digest for number, digest in digests.items() if number in group}
    approved = await outbox.approve_drafts(chosen, actor_of(request))
    if not digests:
        await sync_to_async(messages.error)(request, "Nothing was selected, so nothing is sent.")
    elif len(approved) < len(digests):
        text = "Some drafts were changed, dropped or sent meanwhile. They stay as they are."
        await sync_to_async(messages.error)(request, text)
    return _back(draft)


@require_POST
async def resume(request: HttpRequest, draft_id: int) -> HttpResponse:
    """Finish an attempt that stopped: what was posted is looked up, and the rest is sent as it was shown."""
    draft = await _load(draft_id)
    await outbox.resume_group(draft, actor_of(request))
    return _back(draft)


@require_POST
async def drop(request: HttpRequest, draft_id: int) -> HttpResponse:
    """Drop a draft, so that it is never sent."""
    draft = await _load(draft_id)
    try:
        await outbox.drop_draft(draft, actor_of(request))
    except OffloadError as error:
        await sync_to_async(messages.error)(request, str(error))
        return _back(draft)
    rest = [one for one in await outbox.list_group(draft) if one.id != draft.id]
    return _back(rest[0]) if rest else HttpResponseRedirect(reverse("jobs:outbox"))


@require_http_methods(["GET", "POST"])
async def edit(request: HttpRequest, draft_id: int) -> HttpResponse:
    """Show the texts of a draft in a form, and save them.

    When another person saved it meanwhile, the form has what was typed, and shows what is stored by now.
    """
    draft = await _load(draft_id)
    error, body, verdict, typed = "", draft.body, draft.verdict, []
    if request.method == "POST":
        body, comments = _read_texts(request)
        verdict = request.POST.get("verdict") or draft.verdict
        revision = request.POST.get("revision", "")
        draft.revision = int(revision) if re.fullmatch("[0-9]{1,9}", revision) else -1
        try:
            await outbox.edit_draft(
                draft, body, actor_of(request), verdict=request.POST.get("verdict"), comments=comments
            )
        except NotFound:
            raise
        except OffloadError as failure:
            error = str(failure)
        else:
            return _back(draft)
        draft = await _load(draft_id)
        places = request.POST.getlist("place")
        places += ["a comment"] * (len(comments) - len(places))
        typed = list(zip(places, comments, strict=False))
    fields, gone = comment_fields(draft, typed)
    context: dict[str, object] = {
        "draft": draft, "view": DraftView(draft), "error": error, "verdicts": VERDICTS, "verdict": verdict,
        "is_review": draft.kind == DraftKind.REVIEW, "body": body, "fields": fields, "gone": gone,
    }  # fmt: skip
    return await render_page(request, "outbox/edit.html", context, status=409 if error else 200)


def _read_texts(request: HttpRequest) -> tuple[str, list[str]]:
    """Return the text and the texts of the comments; a browser sends CR LF at each end of line."""
    texts = [request.POST.get("body", ""), *request.POST.getlist("comment")]
    body, *comments = [text.replace("\r\n", "\n").replace("\x00", "").strip() for text in texts]
    return body, comments
