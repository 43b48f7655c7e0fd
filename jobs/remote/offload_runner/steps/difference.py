"""Head against base, test by test. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, Optional, Sequence, Set

from jobs.remote.offload_runner.steps.results import FAILING, PASSED, XFAIL, Case, Results


@dataclass
class Difference:
    """What became of each test. A failing test of the head is in exactly one of the first five lists."""

    broken: List[Case] = field(default_factory=list)  # passes on the base
    new_failing: List[Case] = field(default_factory=list)  # the base does not run it
    unknown: List[Case] = field(default_factory=list)  # the base's outcome is not known
    already_failing: List[Case] = field(default_factory=list)  # fails on the base as well
    flaky: List[Case] = field(default_factory=list)  # passed when it was run again
    fixed: List[Case] = field(default_factory=list)
    added: List[Case] = field(default_factory=list)
    removed: List[Case] = field(default_factory=list)
    not_run: List[Case] = field(default_factory=list)  # passes on the base; the head's run broke off

    @property
    def to_blame(self) -> List[Case]:
        """Return the failing tests that count against the change."""
        return [*self.broken, *self.new_failing, *self.unknown]


def compare(head: Results, base: Optional[Results], reruns: Sequence[Results] = ()) -> Difference:
    """Return the difference of two runs of the same tests. `base` is None when it was not run.

    `reruns` are further runs of the head: a failing test that passes in one of them is flaky.
    """
    found = Difference()
    before = base.by_key() if base is not None else {}
    loaded_before = _unloaded(base) if base is not None else set()
    for case in head.failing:
        if _passes_again(case, reruns):
            found.flaky.append(case)
        elif base is None or not base.known:
            found.unknown.append(case)
        else:
            _list_for(case, base, loaded_before, found).append(case)
    if base is None or not base.known or not head.known:
        return found
    now = head.by_key()
    for key, case in before.items():
        after = now.get(key)
        if case.outcome in FAILING and after is not None and after.outcome == PASSED:
            found.fixed.append(after)
    for case in base.failing:
        # The file could not be loaded, and now its tests pass.
        if case.whole_file and case.key not in now:
            passed = head.in_file(case.file or case.name)
            if passed and all(one.outcome not in FAILING for one in passed):
                found.fixed.append(case)
    if head.named and base.named:
        unloaded = _unloaded(head)
        gone = [
            case
            for key, case in before.items()
            if key not in now and not case.whole_file and case.file not in unloaded
        ]
        if unloaded or not head.complete:
            found.not_run = [case for case in gone if case.outcome == PASSED]
        else:
            found.removed = gone
        if base.complete:
            found.added = [case for key, case in now.items() if key not in before and not case.whole_file]
    return found


def _unloaded(results: Results) -> Set[str]:
    return {case.file or case.name for case in results.cases if case.whole_file and case.outcome in FAILING}


def _list_for(case: Case, base: Results, unloaded: Set[str], found: Difference) -> List[Case]:
    if case.whole_file:
        where = case.file or case.name
        if where in unloaded:
            return found.already_failing
        if any(one.outcome in (PASSED, XFAIL) for one in base.in_file(where)):
            return found.broken
        return found.new_failing if base.complete else found.unknown
    before = base.by_key().get(case.key)
    if before is None:
        if not base.complete or case.file in unloaded or not base.named:
            return found.unknown if not case.file or case.file not in unloaded else found.new_failing
        return found.new_failing
    if before.outcome in FAILING:
        return found.already_failing
    return found.broken if before.outcome in (PASSED, XFAIL) else found.new_failing


def _passes_again(case: Case, reruns: Sequence[Results]) -> bool:
    for results in reruns:
        again = results.by_key().get(case.key)
        if again is not None and again.outcome == PASSED:
            return True
        if case.whole_file and results.complete and again is None:
            loaded = results.in_file(case.file or case.name)
            if loaded and all(one.outcome not in FAILING for one in loaded):
                return True
    return False
