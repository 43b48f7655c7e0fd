"""`offload outbox`: drafts of what is to be posted; nothing is posted without a yes."""

from __future__ import annotations

import sys

from jobs import outbox
from jobs.cli.confirming import confirm
from jobs.cli.draft_output import print_drafts, print_preview, where
from jobs.cli.output import print_json
from jobs.cli.remote_outbox import run_remotely
from jobs.cli.request import Request, actor
from jobs.client import get_remote
from jobs.errors import UsageError
from jobs.models import Draft, Job
from jobs.operations import ConfirmationPlan
from jobs.serializers import draft_json, preview_json

_MADE = ("review", "status", "push", "pull", "reply", "labels")
_ACTIONS = ("ls", *_MADE, "show", "edit", "drop", "send")
_VERDICTS = {"comment": "COMMENT", "approve": "APPROVE", "request-changes": "REQUEST_CHANGES"}


async def run(request: Request) -> int:
    """List drafts, or act on one."""
    action, *names = request.words
    if action not in _ACTIONS or (action == "ls") != (not names):
        raise UsageError(
            f"`outbox {' '.join(request.words)}` is not complete.",
            hint="Write outbox ls; outbox review, status, push, pull, reply or labels TARGET; outbox show, "
            "edit, drop or send NUMBER.",
        )
    if (remote := get_remote()) is not None:
        return await run_remotely(remote, request)
    if action == "ls":
        return print_drafts(request, [draft_json(draft) for draft in await outbox.list_drafts()])
    if action in _MADE:
        request.words = names
        draft = await _make(request, action, await request.job())
        return _answer(
            request, draft, f"Draft {draft.id} is made. See it: `manage.py offload outbox show {draft.id}`"
        )
    draft = await outbox.get_draft(names[0])
    if action == "edit":
        await outbox.edit_draft(draft, _read_text(request), actor())
        return _answer(request, draft, f"Draft {draft.id} has the new text.")
    if action == "drop":
        await outbox.drop_draft(draft, actor())
        return _answer(request, draft, f"Draft {draft.id} is dropped.")
    if action == "show" and draft.state in ("sent", "dropped"):
        return _answer(request, draft, f"Draft {draft.id} is {draft.state}. {draft.url}")
    if draft.state == "sending" and (url := await outbox.find_posted(draft, actor())):
        draft = await outbox.get_draft(str(draft.id))
        return _answer(request, draft, f"It was posted before: {url}")
    draft = await outbox.get_draft(str(draft.id))
    shown = await outbox.prepare_draft(draft)
    if action == "show":
        if request.json:
            print_json("draft", {**draft_json(draft), "preview": preview_json(shown)})
        else:
            print_preview(draft_json(draft), preview_json(shown), shown.contexts)
        return 0
    if not request.json:
        print_preview(draft_json(draft), preview_json(shown), shown.contexts)
    await confirm(request, ConfirmationPlan(f"Post this to {where(draft_json(draft))} as you?"))
    url = await outbox.send_draft(draft, shown, actor())
    draft = await outbox.get_draft(str(draft.id))
    return _answer(request, draft, f"Posted: {url}")


async def _make(request: Request, action: str, job: Job) -> Draft:
    if action == "review":
        return await outbox.make_review(job, _VERDICTS[request.verdict], actor())
    if action == "status":
        return await outbox.make_status(job, actor())
    if action == "push":
        return await outbox.make_push(job, actor())
    if action == "pull":
        return await outbox.make_pull(job, actor())
    if action == "labels":
        return await outbox.make_labels(job, request.add or (), request.remove or (), actor())
    if not request.thread:
        raise UsageError("`outbox reply` needs --thread.", hint="Its place in the diff will do: src/a.py:12.")
    thread = await outbox.find_thread(job, request.thread)
    body = _read_text(request)
    if not body:
        raise UsageError("An answer needs a text.", hint="Write it to standard input.")
    return await outbox.make_reply(job, thread, body, actor(), resolve=bool(request.resolve))


def _read_text(request: Request) -> str:
    if sys.stdin.isatty() and request.no_input:
        raise UsageError("No text was given on standard input.")
    return sys.stdin.read().strip()


def _answer(request: Request, draft: Draft, text: str) -> int:
    if request.json:
        print_json("draft", draft_json(draft))
    else:
        from jobs.invocation import render_commands

        print(render_commands(text))
    return 0
