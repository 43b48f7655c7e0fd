"""Everything that is on record about a job, as typed data for the judge."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from jobs.remote.offload_runner import protocol
from jobs.remote.offload_runner.engine.journal import Journal
from jobs.remote.offload_runner.steps import removals, sources
from jobs.remote.offload_runner.steps.findings import Compared, Evidence, Outcome
from jobs.remote.offload_runner.steps.named_tests import cause
from jobs.remote.offload_runner.steps.problems import Problem, missing_tool, read_problems
from jobs.remote.offload_runner.steps.record import Job
from jobs.remote.offload_runner.steps.results import Results, collect
from jobs.remote.offload_runner.steps.trees import Run, source

_CAUSE_CHARACTERS = 200_000
_LOG_BYTES = 16 * 1024 * 1024
_MOST_TEST_FILES = 500
_MOST_TEST_BYTES = 16 * 1024 * 1024  # of both sides of all test files of the change
_MOST_UNREAD = 20


def read_evidence(job: Job) -> Evidence:
    """Return the evidence of a job: what its tasks and steps wrote about its commit."""
    comparison = _of_this_commit(job, "comparison.json") or {}
    about = job.plan.get("job") or {}
    outcomes = read_outcomes(job)
    tests, unread = changed_tests(job, job.merge_base, job.sha, job.changed)
    weakened = removals.with_code(job, sources.weakened(tests), tests)
    takes = any(sources.is_test(path) for one in job.changed for path in (one["path"], one["old_path"]))
    return Evidence(
        outcomes=outcomes,
        tests=head_results(job),
        compared={
            name: Compared(
                Run.from_json(item["base"]) if item.get("base") else None,
                tuple(Run.from_json(one) for one in item.get("reruns") or []),
            )
            for name, item in (comparison.get("checks") or {}).items()
        },
        base_built=comparison.get("built"),
        base_error=str(comparison.get("error") or ""),
        proof=_of_this_commit(job, "proof.json"),
        hunks=_of_this_commit(job, "hunks.json"),
        conflicts=_of_this_commit(job, "conflicts.json"),
        agent=_of_this_commit(job, "agent.json"),
        weakened=weakened + unread,
        reverts=removals.reverted(job) if takes else "",
        inline=[path for path, old, new in tests if sources.changes_inline_tests(path, old, new)],
        changed=job.changed,
        notes=list(about.get("notes") or []),
        forge=about.get("forge"),
        sha=job.sha,
        has_base=bool(job.merge_base),
        empty=bool(job.prepared.get("empty")),
        lfs=bool((job.prepared.get("facts") or {}).get("has_lfs")),
    )


def read_outcomes(job: Job) -> List[Outcome]:
    """Return what every task of the plan came to, from the journal."""
    events: Dict[str, Dict[str, Any]] = {}
    for event in Journal(job.paths.journal).read():
        if event.get("kind") == protocol.TASK_STARTED:
            events[event["task"]] = {"state": protocol.RUNNING}
        elif event.get("kind") == protocol.TASK_FINISHED:
            events[event["task"]] = event
    found = []
    for task in job.plan.get("tasks") or []:
        event = events.get(task["id"], {})
        outputs: Dict[str, Any] = task.get("outputs") or {}
        command: Optional[str] = outputs.get("shown", task.get("shell"))
        role = task.get("role") or "custom"
        failed = event.get("state") == protocol.FAILED
        said = _log(job, task["id"]) if failed and role in ("test", "lint", "types", "build") else ""
        found.append(
            Outcome(
                id=task["id"],
                name=task.get("name") or task["id"],
                role=role,
                state=event.get("state") or protocol.PENDING,
                exit_code=event.get("exit_code"),
                seconds=event.get("seconds"),
                reason=event.get("reason") or "",
                tail=str(event.get("tail") or "").replace("%s/" % job.paths.worktree, ""),
                command=command if command is not None else " ".join(task.get("argv") or []),
                when=task.get("when") or "success",
                missing_program=str(outputs.get("missing_program") or ""),
                missing_tool=missing_tool(said) if said else "",
                cause=cause(said[-_CAUSE_CHARACTERS:]).replace("%s/" % job.paths.worktree, ""),
                of_base=str(outputs.get("of_base") or ""),
                problems=tuple(read_problems(said, str(job.paths.worktree)))
                if role in ("lint", "types")
                else tuple(_errors(read_problems(said, str(job.paths.worktree))))
                if role == "build"
                else (),
            )
        )
    return found


def _errors(problems: List[Problem]) -> List[Problem]:
    """Return what stops a build: without the warnings of its compiler."""
    return [one for one in problems if not re.match(r"warning\b|unused\b", one.message)]


def head_results(job: Job) -> Dict[str, Results]:
    """Return the test results of the head by task, read once and kept as `head.json`."""
    kept = _of_this_commit(job, "head.json")
    if kept is not None:
        return {name: Results.from_json(item) for name, item in kept["tasks"].items()}
    found: Dict[str, Results] = {}
    for outcome in read_outcomes(job):
        if outcome.role == "test" and outcome.state in (protocol.SUCCEEDED, protocol.FAILED):
            task = next(task for task in job.plan["tasks"] if task["id"] == outcome.id)
            told: Dict[str, Any] = task.get("outputs") or {}
            found[outcome.id] = collect(
                job.paths.results(outcome.id),
                job.paths.worktree,
                told.get("results") or [],
                job.paths.log(outcome.id),
                folder=str(told.get("directory") or ""),
            )
    tasks = {name: results.to_json() for name, results in found.items()}
    job.write("head.json", {"schema": "offload-tests/1", "sha": job.sha, "tasks": tasks})
    return found


def _log(job: Job, task: str) -> str:
    try:
        with open(job.paths.log(task), "rb") as file:
            return file.read(_LOG_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def changed_tests(
    job: Job, base: str, head: str, changed: Sequence[Mapping[str, Any]]
) -> Tuple[List[Tuple[str, str, str]], List[Dict[str, Any]]]:
    """Return the changed files with tests (path, text at both commits), and what is not read."""
    if not base:
        return [], []
    changes: List[Tuple[str, str, str]] = []
    unread: List[Dict[str, Any]] = []
    left = _MOST_TEST_BYTES
    for item in changed:
        path, old_path = item["path"], item["old_path"] or item["path"]
        if not any(sources.may_hold_tests(name) and sources.has_tests(name) for name in (path, old_path)):
            continue
        is_read = len(changes) < _MOST_TEST_FILES and left > 0 and not item["binary"]
        old: Optional[bytes] = b""
        new: Optional[bytes] = b""
        if is_read and item["status"] != "A":
            old = source(job, base, old_path)
        if is_read and item["status"] != "D":
            new = source(job, head, path)
        if not is_read or old is None or new is None:
            unread.append({"kind": "unread", "file": path, "tests": []})
            continue
        left -= len(old) + len(new)
        changes.append((path, _decoded(old), _decoded(new)))
    return changes, unread[:_MOST_UNREAD]


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\r\n", "\n")


def _of_this_commit(job: Job, name: str) -> Optional[Dict[str, Any]]:
    # An answer about another commit would be evidence for something else.
    answer = job.read(name)
    return answer if isinstance(answer, dict) and answer.get("sha") == job.sha else None
