"""Read the targets and the action of `offload TARGET... [ACTION]`. A typing error never starts a job."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from jobs.cli.suggestions import suggest_verb
from jobs.cli.verbs import ACTIONS, OFFLOAD
from jobs.errors import UsageError
from jobs.execution import target_for
from jobs.forges.target import BRANCH, Target, parse_target
from jobs.playbooks import registry as playbooks

# It may stand before its issue: no branch is tried there.
IMPLEMENT = "implement"


def read_targets(words: Sequence[str]) -> tuple[list[Target], str]:
    """Return the targets, each once, and the action. Raises `UsageError`."""
    if len(words) > 1 and words[0] == IMPLEMENT and words[-1] not in ACTIONS:
        words = [*words[1:], words[0]]
    named = bool(words) and words[-1] in ACTIONS
    targets = words[:-1] if named else words
    for word in targets:
        _refuse_near_verb(word, words)
    if len(words) > 1 and not named:
        for word in words:
            _refuse_unknown_action(word)
    action = words[-1] if named else playbooks.DEFAULT
    found = (target_for(action, parse_target(word)) for word in targets)
    return list(dict.fromkeys(found)), action


def _refuse_near_verb(word: str, words: Sequence[str]) -> None:
    if word.startswith(BRANCH):
        return
    hint = f"If it is a branch, write {BRANCH}{word}."
    if word in ACTIONS:
        others = shlex.join(other for other in words if other != word)
        raise UsageError(
            f"{word!r} is an action and stands after its targets.",
            hint=f"Write `offload {others} {word}`. {hint}",
        )
    if (verb := suggest_verb(word, [*OFFLOAD, "fleet", *ACTIONS])) and verb != word:
        raise UsageError(f"{word!r} is neither a verb nor an action. Did you mean {verb!r}?", hint=hint)


def _refuse_unknown_action(word: str) -> None:
    """Raise `UsageError` when one of several words could be a wrong action as well as a branch."""
    if word.startswith(BRANCH) or parse_target(word).kind != "branch":
        return
    try:
        playbooks.get(word)
    except UsageError as error:
        raise UsageError(error.message, hint=f"{error.hint} A branch is written {BRANCH}{word}.") from None
