"""Head against base, test by test. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Container, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from jobs.remote.offload_runner.steps.results import FAILING, PASSED, XFAIL, Case, Results

Key = Tuple[str, str, str, int]


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
    moved: List[Case] = field(default_factory=list)  # has another file or class on the base
    origins: Dict[Key, Case] = field(default_factory=dict)  # what those are on the base, by their key

    @property
    def to_blame(self) -> List[Case]:
        """Return the failing tests that count against the change."""
        return [*self.broken, *self.new_failing, *self.unknown]


def compare(
    head: Results,
    base: Optional[Results],
    reruns: Sequence[Results] = (),
    renamed: Optional[Mapping[str, str]] = None,
) -> Difference:
    """Return the difference of two runs of the same tests. `base` is None when it was not run.

    `reruns` are further runs of the head: a failing test that passes in one of them is flaky. `renamed` has
    the old path of each renamed file. A test that moved is compared with what it was.
    """
    found = Difference()
    if base is not None and base.known and head.known:
        found.origins = _origins(head, base, renamed or {})
        found.moved = [case for case in head.cases if case.key in found.origins]
        there = {origin.key: key for key, origin in found.origins.items()}
        base = replace(base, cases=tuple(_as_moved(case, there, renamed or {}) for case in base.cases))
    before = base.by_key() if base is not None else {}
    now = head.by_key()
    lost: Optional[_Lost] = None
    loaded_before = _unloaded(base) if base is not None else set()
    for case in head.failing:
        if _passes_again(case, reruns):
            found.flaky.append(case)
        elif base is None or not base.known:
            found.unknown.append(case)
        else:
            lost = lost or _Lost(base, now)
            _list_for(case, base, loaded_before, lost, found).append(case)
    if base is None or not base.known or not head.known:
        return found
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
        hidden = {case.suite for case in head.failing if case.whole_file and not case.file}
        gone = [
            case
            for key, case in before.items()
            if key not in now
            and not case.whole_file
            and case.file not in unloaded
            and not hidden & {*case.suites}
        ]
        if unloaded or not head.complete:
            found.not_run = [case for case in gone if case.outcome == PASSED]
        else:
            found.removed = gone
        if base.complete:
            found.added = [case for key, case in now.items() if key not in before and not case.whole_file]
    return found


def renames(changed: Iterable[Mapping[str, Any]]) -> Dict[str, str]:
    """Return the old path of each renamed file of a change."""
    return {str(item["path"]): str(item["old_path"]) for item in changed if item.get("old_path")}


def _origins(head: Results, base: Results, renamed: Mapping[str, str]) -> Dict[Key, Case]:
    """Return what the tests of the head that moved are on the base: by a renamed file, else by their name.

    A name that several moved tests have tells nothing. Nor does it excuse a failure with another message:
    a test could take the name of one that fails on the base.
    """
    before, now = base.by_key(), head.by_key()
    gone = {key: case for key, case in before.items() if key not in now and not case.whole_file}
    fresh = [case for key, case in now.items() if key not in before and not case.whole_file]
    found: Dict[Key, Case] = {}
    for case in fresh:
        old = gone.get(_before_rename(case, renamed))
        if old is not None:
            found[case.key] = gone.pop(old.key)
    by_name: Dict[str, List[Case]] = {}
    for old in gone.values():
        by_name.setdefault(old.name, []).append(old)
    left = [case for case in fresh if case.key not in found]
    names = Counter(case.name for case in left)
    for case in left:
        alike = by_name.get(case.name, [])
        if len(alike) != 1 or names[case.name] != 1:
            continue
        excused = case.outcome in FAILING and alike[0].outcome in FAILING
        if not excused or case.message == alike[0].message:
            found[case.key] = alike[0]
    return found


def _before_rename(case: Case, renamed: Mapping[str, str]) -> Key:
    """Return the key that a test had before its file was renamed."""
    old = renamed.get(case.file, case.file)
    suite = case.suite
    if old != case.file and case.file.endswith(".py") and old.endswith(".py"):
        module, was = (path[:-3].replace("/", ".") for path in (case.file, old))
        if suite == module or suite.startswith(module + "."):
            suite = was + suite[len(module) :]
    return (old, suite, case.key[2], case.occurrence)


def _as_moved(case: Case, there: Mapping[Key, Key], renamed: Mapping[str, str]) -> Case:
    """Return a test of the base with the file and class that it has on the head."""
    key = there.get(case.key)
    if key is not None:
        return replace(case, file=key[0], suite=key[1], name=key[2], occurrence=key[3])
    if case.whole_file:
        now = {old: new for new, old in renamed.items()}
        name = now.get(case.file or case.name)
        if name:
            return replace(case, file=name if case.file else "", name=name)
    return case


def _unloaded(results: Results) -> Set[str]:
    return {case.unit for case in results.cases if case.whole_file and case.outcome in FAILING}


class _Lost:
    """Tests without a file that pass on the base and are gone: whether there are any, and their suites."""

    def __init__(self, base: Results, now: Container[Key]) -> None:
        gone = [
            case
            for key, case in base.by_key().items()
            if not case.file and case.outcome in (PASSED, XFAIL) and key not in now
        ]
        self.is_any = bool(gone)
        self.suites = {suite for case in gone for suite in case.suites}


def _list_for(case: Case, base: Results, unloaded: Set[str], lost: _Lost, found: Difference) -> List[Case]:
    if case.whole_file:
        if case.unit in unloaded:
            return found.already_failing
        of_file = base.in_file(case.file or case.name)
        if any(one.outcome in (PASSED, XFAIL) for one in of_file):
            return found.broken
        # A runner that names no files says that a file failed, and its tests are gone.
        if not of_file and (lost.is_any if case.file else case.suite in lost.suites):
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
