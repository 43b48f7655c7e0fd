"""Behavioural proof: the changed tests on the base and on the head.

A test that fails on the base and passes on the head proves that the change does what the test says.

What to run is data in the plan, in the `outputs` of the task whose role is `proof`:

    "outputs": {"setup": [shell lines that install and build], "proof": [GROUP, ...]}

    GROUP = {
        "test_files": ["tests/test_tax.py", ...],   changed tests: paths at the head, from the top
        "shell":      'python -m pytest -q "$@"',   runs the files that are its arguments
        "support":    ["tests/utils.py", ...],      changed files that tests use; the tests that name them run
        "pattern":    "(^|/)test_.*\\.py$",          which paths, relative to `cwd`, are tests
        "cwd":        "packages/web",               optional: below the tree's root, default the root
        "timeout":    600,                          optional: seconds for one run
        "results":    ["*.xml"]                     optional: test reports below the tree
    }

With `"$@"` in `shell` all files run in one command, with `"$1"` each in its own. Paths are relative to `cwd`.

The base's tree is the merge base with the changed tests and support files of the head laid over it; they are
taken off again at the end. What a run leaves there is put back before the next one. A test that cannot be
loaded there runs again with the base's own support files: a `conftest.py` that imports what the change adds
says nothing about tests that do not. The head's tree is the worktree as it was before tests. A file that the
head deleted is ignored.

The answer is `proof.json` in the job's directory:

    {"schema": "offload-proof/2", "sha", "merge_base", "base_built": true, "base_error": "", "base_tail": [],
     "source_changed": bool,
     "files": [{"path", "result": "proof|proves_nothing|still_fails|regression|passes|fails|not_run",
                "support": bool, "own_support": bool, "base": RUN or null, "head": RUN,
                "tests": {"proving": [names], ...}}]}

`support`: the test itself is unchanged; `own_support`: its run on the base had the base's support files.
`proof` fail-pass, `proves_nothing` pass-pass, `still_fails` fail-fail, `regression` pass-fail; `passes` and
`fails` are what is left when the base could not be built; `not_run` means that none of the file's tests ran.
With test results the words are about single tests, and otherwise about exit codes. RUN: see `trees.Run`.

Exit code 0: every changed test passes on the head. 1: one does not. 70: the step itself could not work.
"""

from __future__ import annotations

import contextlib
import posixpath
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Container, Dict, List, Mapping, Optional, Sequence, Tuple

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import JOB, PROOF
from jobs.remote.offload_runner.git import worktree
from jobs.remote.offload_runner.git.command import shown, split, text
from jobs.remote.offload_runner.protocol import EXIT_DATA, EXIT_NOT_FOUND, PlanError
from jobs.remote.offload_runner.steps import sources
from jobs.remote.offload_runner.steps.evidence import head_results
from jobs.remote.offload_runner.steps.record import Job, counted, say
from jobs.remote.offload_runner.steps.restored import mark, restore, restored_head
from jobs.remote.offload_runner.steps.results import FAILING, PASSED, Case
from jobs.remote.offload_runner.steps.trees import (
    Base,
    Run,
    content,
    ended,
    execute,
    lay,
    present,
    ready_base,
)

_TIMEOUT = 600.0
_MOST_DEPENDENT = 20
_NO_PROGRAM = (126, 127)
_NO_TESTS = 5  # pytest: no tests were collected
_RESULTS = {
    (False, True): "proof",
    (True, True): "proves_nothing",
    (False, False): "still_fails",
    (True, False): "regression",
}
_SENTENCE = {
    "proof": "fails on the base and passes on the head: proof",
    "proves_nothing": "passes on both: proves nothing",
    "still_fails": "fails on both",
    "regression": "passes on the base and fails on the head",
    "passes": "passes on the head",
    "fails": "fails on the head",
    "not_run": "has no test that ran",
}


@dataclass(frozen=True)
class Group:
    """Test files that are run in the same way."""

    shell: str
    test_files: List[str] = field(default_factory=list)
    support: List[str] = field(default_factory=list)
    pattern: str = ""
    cwd: str = ""
    timeout: float = _TIMEOUT
    results: List[str] = field(default_factory=list)

    @property
    def runs_many(self) -> bool:
        """Tell whether one command runs all files."""
        return '"$@"' in self.shell


def run(job: Job) -> int:
    """Run the changed tests on both trees and write `proof.json`."""
    groups, setup = read_groups(job.plan)
    base = ready_base(job, setup)
    head_results(job)  # reports of the tests are moved aside below
    answer: Dict[str, Any] = {
        "schema": "offload-proof/2",
        "sha": job.sha,
        "merge_base": job.merge_base,
        "base_built": base.built,
        "base_error": base.error,
        "base_tail": list(base.tail),
        "source_changed": any(sources.is_source(item["path"]) for item in job.changed),
        "files": [],
    }
    laid = _Laid(job, base.path)
    try:
        for group in groups:
            _prove(job, group, base, laid, answer)
            job.write("proof.json", answer)  # what is known stays known when this step is cut off
    finally:
        worktree.reset_base(job.paths.root, job.paths.session)
    job.write("proof.json", answer)
    _conclude(answer)
    return int(any(item["result"] in ("still_fails", "regression", "fails") for item in answer["files"]))


def read_groups(plan: Mapping[str, Any]) -> Tuple[List[Group], List[str]]:
    """Return what the plan says about the proof: the groups, and the lines that build a tree.

    Raises `RunnerError` when there is nothing, or it is malformed.
    """
    outputs = next((t.get("outputs") or {} for t in plan.get("tasks") or [] if t.get("role") == "proof"), {})
    told = outputs.get("proof")
    if not told:
        raise RunnerError("bad_plan", "The plan does not say which tests to run.", exit_code=EXIT_NOT_FOUND)
    try:
        groups = [Group(**group) for group in told]
        for group in groups:
            if not group.shell:
                raise PlanError("shell is empty")
            for name in [*group.test_files, *group.support, group.cwd]:
                if posixpath.isabs(name) or ".." in name.split("/"):
                    raise PlanError("%r leads out of the tree" % name)
    except (TypeError, PlanError) as exc:
        raise RunnerError(
            "bad_plan", "The plan's proof is malformed: %s." % exc, exit_code=EXIT_DATA
        ) from exc
    return groups, list(outputs.get("setup") or [])


class _Laid:
    """The base's tree with files of other commits over it, which each run finds as they were laid out."""

    def __init__(self, job: Job, tree: Path) -> None:
        self._job = job
        self.tree = tree
        self._layers: List[Tuple[str, Sequence[str]]] = []
        self._made: Mapping[str, Any] = {}
        self._has_run = False

    def lay(self, sha: str, names: Sequence[str]) -> None:
        """Lay files of a commit over the tree."""
        self.restore()
        self._layers.append((sha, names))
        self._lay(self._layers[-1:])

    def restore(self) -> None:
        """Bring the tree back to what was laid out before tests ran in it. Raises `RunnerError`."""
        if self._has_run:
            found = restore(self._job, self.tree, self._made, PROOF, commit=self._job.merge_base)
            if found["altered"] or found["aside"]:
                self._lay(self._layers)
        self._has_run = False

    def begin(self) -> None:
        """Have the tree ready for a run."""
        self.restore()
        self._has_run = True

    def _lay(self, layers: Sequence[Tuple[str, Sequence[str]]]) -> None:
        for sha, names in layers:
            lay(self._job, self.tree, sha, names)
        self._made = mark(self._job, self.tree)


def _prove(job: Job, group: Group, base: Base, laid: _Laid, answer: Dict[str, Any]) -> None:
    files = present(job, job.sha, group.test_files)
    support = present(job, job.sha, group.support)
    dependent = [name for name in _dependent(job, group, support) if name not in files]
    names = [*files, *dependent]
    if not names:
        return
    laid.lay(job.sha, [*files, *support])
    before: Dict[str, Run] = {}
    if base.built:
        known = present(job, job.merge_base, dependent)
        on_base = [*files, *known]
        say("%s on the base" % counted(len(on_base), "test file"))
        before = _run_files(job, group, laid, on_base)
    say("%s on the head" % counted(len(names), "test file"))
    after = _run_files(job, group, None, names)
    again = _with_own_support(job, group, laid, support, before, after)
    before.update(again)
    for name in names:
        old: Optional[Run] = before.get(name)
        if old is not None and old.exit_code in _NO_PROGRAM:
            old = None  # the command itself cannot be started there: that says nothing about the change
        new = after[name]
        own = sources.read_tests(name, (content(job, job.sha, name) or b"").decode("utf-8", "replace"))
        result, tests = classify(name, old, new, own or ())
        say("%s %s" % (shown(name), _SENTENCE[result]))
        answer["files"].append(
            {
                "path": name if shown(name) == name else shown(name),
                "result": result,
                "support": name in dependent,
                "own_support": name in again,
                "base": _short(old).to_json() if old else None,
                "head": _short(new).to_json(),
                "tests": tests,
            }
        )


def _with_own_support(
    job: Job,
    group: Group,
    laid: _Laid,
    support: Sequence[str],
    before: Mapping[str, Run],
    after: Mapping[str, Run],
) -> Dict[str, Run]:
    """Return new runs of the tests that the head's support files keep from being loaded on the base."""
    names = [name for name, run in before.items() if not _ran(run) and _ran(after[name])]
    if not names or not support:
        return {}
    say(
        "%s on the base again, with its own %s"
        % (counted(len(names), "test file"), ", ".join(map(shown, support)))
    )
    laid.lay(job.merge_base, support)
    runs = _run_files(job, group, laid, names)
    return {name: run for name, run in runs.items() if _ran(run)}


def _ran(run: Run) -> bool:
    return any(not case.whole_file for case in run.results.cases)


def _short(run: Run) -> Run:
    # The test results are in `tests`; in a run of many files they would be repeated for each.
    return replace(run, results=replace(run.results, cases=()))


def _run_files(job: Job, group: Group, laid: Optional[_Laid], names: Sequence[str]) -> Dict[str, Run]:
    """Run test files on the base, as it is laid out, or on the head."""
    found: Dict[str, Run] = {}
    inside = {name: posixpath.relpath(name, group.cwd) if group.cwd else name for name in names}
    if group.runs_many and len(names) > 1:
        whole = _execute(job, group, laid, [inside[name] for name in names])
        for name in names:
            cases = whole.results.in_file(name) or whole.results.in_file(inside[name])
            if cases and whole.results.complete:
                failed = any(case.outcome in FAILING for case in cases)
                results = replace(whole.results, cases=tuple(cases))
                found[name] = replace(whole, exit_code=int(failed), results=results)
    for name in names:
        if name not in found:
            found[name] = _execute(job, group, laid, [inside[name]])
    return found


def _execute(job: Job, group: Group, laid: Optional[_Laid], arguments: List[str]) -> Run:
    say("$ %s" % " ".join([group.shell, *map(shown, arguments)]))
    if laid is not None:
        laid.begin()
    with restored_head(job) if laid is None else contextlib.nullcontext():
        done = execute(
            job,
            job.paths.worktree if laid is None else laid.tree,
            group.shell,
            arguments=arguments,
            globs=group.results,
            timeout=group.timeout,
            cwd=group.cwd,
            place=JOB if laid is None else PROOF,
        )
    say("  %s after %.1f s" % (ended(done), done.seconds))
    return done


def classify(
    name: str, base: Optional[Run], head: Run, own: Container[str] = ()
) -> Tuple[str, Dict[str, List[str]]]:
    """Return the word for what a test file does on both trees, and its tests by the same words.

    `own` are the tests that the file defines, for runners that run more than one file (Go's packages).
    """
    if head.results.known and not head.results.cases and head.exit_code in (0, _NO_TESTS):
        return "not_run", {}
    ran = {case.name.split("/")[0] for case in head.results.cases}
    if name.endswith("_test.go") and own and head.passed and ran and not any(one in own for one in ran):
        return "not_run", {}  # its build tags leave it out, while the other files of the package ran
    if base is None:
        return ("passes" if head.passed else "fails"), {}
    tests = _by_test(base, head, own)
    if tests["regression"] or tests["still_fails"] or tests["proof"]:
        if head.passed != bool(tests["regression"] or tests["still_fails"]):
            return next(word for word in ("regression", "still_fails", "proof") if tests[word]), tests
    elif head.passed and base.results.complete and base.results.cases and head.results.cases:
        # The base's run may fail for a reason that is no test's: a threshold, a missing report.
        return "proves_nothing", tests
    return _RESULTS[base.passed, head.passed], {}


def _by_test(base: Run, head: Run, own: Container[str]) -> Dict[str, List[str]]:
    found: Dict[str, List[str]] = {"proof": [], "proves_nothing": [], "still_fails": [], "regression": []}
    if not (base.results.known and head.results.known):
        return found
    before = base.results.by_key()
    unloaded = any(case.whole_file for case in base.results.failing)
    for case in head.results.cases:
        old: Optional[Case] = before.get(case.key)
        if old is None and not unloaded:
            continue
        if old is None and not case.file and own and case.name.split("/")[0] not in own:
            continue  # another file's, of the same package
        passed_before = old is not None and old.outcome == PASSED
        if case.outcome == PASSED and (old is None or old.outcome in FAILING or passed_before):
            found[_RESULTS[passed_before, True]].append(case.title)
        elif case.outcome in FAILING:
            found[_RESULTS[passed_before, False]].append(case.title)
    return found


def _dependent(job: Job, group: Group, support: Sequence[str]) -> List[str]:
    """Return the test files of the head that use the changed support files: those that name them."""
    found: List[str] = []
    for name in support:
        words = sources.names_of(name)
        folder = posixpath.dirname(name)
        if posixpath.basename(name) == "conftest.py":
            listed = job.git.out(
                "ls-tree", "-r", "-z", "--name-only", job.sha, "--", *([folder] if folder else [])
            )
            paths = [text(path) for path in split(listed)]
        elif name.endswith(".snap"):
            paths = present(
                job, job.sha, [posixpath.join(posixpath.dirname(folder), posixpath.basename(name)[:-5])]
            )
        else:
            paths = sources.grep(job, job.sha, words)
        prefix = group.cwd + "/" if group.cwd else ""
        found += [
            path
            for path in paths
            if group.pattern and path.startswith(prefix) and re.search(group.pattern, path[len(prefix) :])
        ]
    return sorted(set(found))[:_MOST_DEPENDENT]


def _conclude(answer: Mapping[str, Any]) -> None:
    say()
    say("%s:" % counted(len(answer["files"]), "test file"))
    for item in answer["files"]:
        say("  %s %s" % (item["path"], _SENTENCE[item["result"]]))
