"""Names of labels, checked. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobs.errors import UsageError
from jobs.forges.pulls import one_line

LONGEST_NAME = 50  # GitHub refuses a longer one
MOST = 20


def check_labels(add: Any, remove: Any) -> tuple[list[str], list[str]]:
    """Return the names of labels to give and to take, checked. Raises `UsageError`."""
    checked = [_check_names(add), _check_names(remove)]
    if not any(checked):
        raise UsageError("No label is named.", hint="Name some: --add bug --remove triage.")
    both = {name.lower() for name in checked[0]} & {name.lower() for name in checked[1]}
    if both:
        raise UsageError(f"The label {sorted(both)[0]} is to be added and removed.")
    return checked[0], checked[1]


def _check_names(names: Any) -> list[str]:
    if not isinstance(names, Sequence) or isinstance(names, str) or len(names) > MOST:
        raise UsageError(f"Labels are a list of at most {MOST} names.")
    for name in names:
        if not isinstance(name, str) or not 0 < len(name.strip()) <= LONGEST_NAME or one_line(name) != name:
            raise UsageError(f"{name!r} is no name of a label.", hint=f"At most {LONGEST_NAME} characters.")
    return list(names)
