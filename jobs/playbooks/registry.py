"""Which playbooks there are."""

from __future__ import annotations

import difflib

from jobs.errors import UsageError
from jobs.playbooks.base import Playbook
from jobs.playbooks.fix import Fix
from jobs.playbooks.implement import Implement
from jobs.playbooks.open import Open
from jobs.playbooks.ready import Ready
from jobs.playbooks.review import Review

PLAYBOOKS: tuple[Playbook, ...] = (Review(), Fix(), Implement(), Ready(), Open())
DEFAULT = "review"


def get(action: str) -> Playbook:
    """Return the playbook of an action. Raises `UsageError` listing the actions."""
    for playbook in PLAYBOOKS:
        if playbook.action == action:
            return playbook
    names = [playbook.action for playbook in PLAYBOOKS]
    near = difflib.get_close_matches(action, names, n=1)
    meant = f"Did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"There is no action {action!r}.", hint=f"{meant}Actions: {', '.join(names)}.")
