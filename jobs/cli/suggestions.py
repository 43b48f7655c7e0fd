"""Suggest the verb that a word was meant to be. Data and one function; needs no Django."""

from __future__ import annotations

from collections.abc import Iterable

# What other command lines call a verb; suggested, never run.
OTHER_NAMES = {
    **dict.fromkeys(("list", "ps", "get"), "ls"),
    **dict.fromkeys(("show", "view", "describe"), "status"),
    **dict.fromkeys(("delete", "remove"), "rm"),
    **dict.fromkeys(("stop", "kill"), "cancel"),
    **dict.fromkeys(("exec", "ssh"), "shell"),
    **dict.fromkeys(("run", "start"), "review"),
    "checkout": "open",
    "config": "setup",
}
NEAR = 0.75  # similarity, from 0 to 1


def suggest_verb(word: str, verbs: Iterable[str]) -> str:
    """Return the verb that a word is another name or a typing error of; else an empty text."""
    from difflib import get_close_matches

    other = OTHER_NAMES.get(word.lower(), "")
    near = [other] if other in verbs else get_close_matches(word.lower(), list(verbs), n=1, cutoff=NEAR)
    return near[0] if near else ""
