"""Drafts of the outbox, of this computer or of a remote dashboard, as the command line prints them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from jobs.cli.output import plain, print_json
from jobs.cli.request import Request
from jobs.formats import format_age
from jobs.serializers import DraftJson, PreviewJson


def where(draft: DraftJson) -> str:
    """Return where a draft goes: `owner/name#12`."""
    return plain(draft["repository"] + ("" if draft["number"] is None else f"#{draft['number']}"))


def print_drafts(request: Request, drafts: Sequence[DraftJson]) -> int:
    """Print a list of drafts; return the exit code."""
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


def print_preview(draft: DraftJson, shown: PreviewJson, contexts: Sequence[str] = ()) -> None:
    """Print a draft exactly as it would appear; `contexts`: the lines that each comment is about."""
    print(f"{where(draft)} at {plain(draft['head_sha'][:10])}: {plain(shown['title'])}")
    for text in (shown["quote"], shown["body"]):
        if text:
            print(_indented(text))
    for detail in shown["details"]:
        print(plain(detail))
    contexts = contexts or [""] * len(shown["comments"])
    for comment, context in zip(shown["comments"], contexts, strict=True):
        line = comment["line"]
        print(plain(f"{comment['path']}:{line}" if line else f"{comment['path']} (the file)"))
        print(_indented("\n".join(part for part in (context, comment["body"]) if part)))
    for note in shown["notes"]:
        print(plain(note))


def _indented(text: str) -> str:
    # Text of a job cannot look like a line of ours.
    return "\n".join(f"  | {line}" for line in plain(text).split("\n"))
