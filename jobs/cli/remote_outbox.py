"""The outbox of a remote dashboard: list, show, drop, and send what was shown."""

from __future__ import annotations

from datetime import datetime

from jobs.cli.confirming import confirm
from jobs.cli.output import plain, print_json
from jobs.cli.request import Request
from jobs.client.remote import Remote
from jobs.errors import UsageError
from jobs.formats import format_age
from jobs.operations import ConfirmationPlan
from jobs.serializers import DraftJson, PreviewJson

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
        return _list(request, await client.list_drafts())
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


def where(draft: DraftJson) -> str:
    """Return where a draft goes: `owner/name#12`."""
    return plain(draft["repository"] + ("" if draft["number"] is None else f"#{draft['number']}"))


def _list(request: Request, drafts: list[DraftJson]) -> int:
    if request.json:
        print_json("drafts", drafts)
        return 0
    if not drafts:
        print("The outbox is empty.")
    for draft in drafts:
        error = f"  {plain(draft['error'])}" if draft["error"] else ""
        age = format_age(datetime.fromisoformat(draft["created_at"]))
        print(
            f"{draft['id']:>4}  {plain(draft['kind'])}  {where(draft)}  {plain(draft['state'])}, {age}{error}"
        )
    return 0


def _answer(request: Request, draft: DraftJson, text: str) -> int:
    if request.json:
        print_json("draft", draft)
    else:
        print(text)
    return 0


def print_preview(draft: DraftJson, shown: PreviewJson) -> None:
    """Print a draft exactly as it would appear."""
    print(f"{where(draft)} at {plain(draft['head_sha'][:10])}: {plain(shown['title'])}")
    for text in (shown["quote"], shown["body"]):
        if text:
            print(_indented(text))
    for detail in shown["details"]:
        print(plain(detail))
    for comment in shown["comments"]:
        line = comment["line"]
        print(plain(f"{comment['path']}:{line}" if line else f"{comment['path']} (the file)"))
        print(_indented(comment["body"]))
    for note in shown["notes"]:
        print(plain(note))


def _indented(text: str) -> str:
    # Text of a job cannot look like a line of ours.
    return "\n".join(f"  | {line}" for line in plain(text).split("\n"))
