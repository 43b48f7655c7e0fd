"""The outbox of a remote dashboard: list, show, drop, and send what was shown."""

from __future__ import annotations

from jobs.cli.confirming import confirm
from jobs.cli.draft_output import print_drafts, print_preview, where
from jobs.cli.output import plain, print_json
from jobs.cli.request import Request
from jobs.client.remote import Remote
from jobs.errors import UsageError
from jobs.operations import ConfirmationPlan
from jobs.serializers import DraftJson

ACTIONS = ("ls", "show", "drop", "send")


async def run_remotely(client: Remote, request: Request) -> int:
    """List drafts, or act on one. Raises `UsageError` for an action that belongs on the other computer."""
    action, *names = request.words
    if action not in ACTIONS:
        raise UsageError(
            f"`outbox {action}` does not work with a remote dashboard, and OFFLOAD_URL names one.",
            hint="Make and edit drafts on its pages; here are outbox ls, show, drop and send.",
        )
    if action == "ls":
        return print_drafts(request, await client.list_drafts())
    number = _number(names[0])
    if action == "drop":
        return _answer(request, await client.drop_draft(number), f"Draft {number} is dropped.")
    draft, shown = await client.preview_draft(number)
    if action == "show":
        if request.json:
            print_json("draft", {**draft, "preview": shown})
        else:
            print_preview(draft, shown)
        return 0
    if not request.json:
        print_preview(draft, shown)
    await confirm(request, ConfirmationPlan(f"Have {client.server} post this to {where(draft)}?"))
    draft = await client.send_draft(number, shown["digest"])
    return _answer(request, draft, f"Posted: {plain(draft['url'] or 'without an address')}")


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise UsageError(f"{text!r} is not the number of a draft.", hint="See `offload outbox ls`.")
    return int(text)


def _answer(request: Request, draft: DraftJson, text: str) -> int:
    if request.json:
        print_json("draft", draft)
    else:
        print(text)
    return 0
