"""What failed on the head, on the base: the same commands in the base's tree, and flaky tests run again.

The plan says how, in the `outputs` of the task whose role is `test_base`:

    "outputs": {"setup": [shell lines], "checks": [{"task": id, "role", "shell", "results": [globs]}, ...]}

Nothing is run for what passed on the head. The answer is `comparison.json`:

    {"schema": "offload-comparison/1", "sha", "merge_base", "built": bool, "error": "", "tail": [],
     "checks": {task id: {"base": RUN or null, "reruns": [RUN, ...], "kept": bool}}}

RUN: see `trees.Run`; `reruns` are further runs of the head, made when a test fails that the base passes;
`kept`: the base's run is one of an earlier job (see `base_runs`).

Exit code 0: the comparison was made, whatever it says.
"""

from __future__ import annotations

from typing import Any, Dict, List

from jobs.remote.offload_runner.files.paths import BASE
from jobs.remote.offload_runner.protocol import FAILED
from jobs.remote.offload_runner.steps import base_runs
from jobs.remote.offload_runner.steps.difference import compare
from jobs.remote.offload_runner.steps.evidence import head_results, read_outcomes
from jobs.remote.offload_runner.steps.findings import Outcome
from jobs.remote.offload_runner.steps.record import Job, say
from jobs.remote.offload_runner.steps.restored import look_at_head, restored_head
from jobs.remote.offload_runner.steps.results import Results
from jobs.remote.offload_runner.steps.trees import Base, Run, execute, ready_base

_RERUNS = 2
_RERUN_SECONDS = 300.0  # a longer test run is not repeated


def run(job: Job) -> int:
    """Compare what failed, and write `comparison.json`."""
    task = next(task for task in job.plan["tasks"] if task["role"] == "test_base")
    told = task["outputs"]
    outcomes = {one.id: one for one in read_outcomes(job)}
    tests = head_results(job)
    if tests:
        look_at_head(job)
    setup_failed = any(one.state == FAILED for one in outcomes.values() if one.role in ("install", "build"))
    checks = [
        check
        for check in told["checks"]
        if check.get("always") or _needs_base(outcomes[check["task"]], tests)
    ]
    if not checks and not setup_failed:
        say("Nothing failed on the head, so the base was not run.")
        return 0
    kept = {
        check["task"]: base_runs.find(job, told, check, tests.get(check["task"], Results()))
        for check in checks
    }
    known = {name: one for name, one in kept.items() if one is not None}
    if checks and not setup_failed and len(known) == len(kept):
        say(
            "What fails on the head failed on this base before, in an earlier job: "
            "the base was not run again."
        )
        answer = _answer(job, Base(job.paths.base_worktree, True))
        for name, one in known.items():
            answer["checks"][name] = {"base": one.to_json(), "reruns": [], "kept": True}
        job.write("comparison.json", answer)
        return 0
    base = ready_base(job, told.get("setup") or [], pure=True)
    answer = _answer(job, base)
    job.write("comparison.json", answer)
    for check in checks:
        name, globs = check["task"], check.get("results") or []
        made = None
        if base.built:
            say()
            say("%s on the base" % name)
            made = execute(job, base.path, check["shell"], globs=globs, timeout=task["timeout"], place=BASE)
            base_runs.keep(job, told, check, made)
        answer["checks"][name] = {"base": made.to_json() if made else None, "reruns": []}
        job.write("comparison.json", answer)
        if check["role"] == "test":
            reruns = _rerun(job, check, outcomes[name], tests.get(name, Results()), made, task["timeout"])
            answer["checks"][name]["reruns"] = [one.to_json() for one in reruns]
            job.write("comparison.json", answer)
    return 0


def _answer(job: Job, base: Base) -> Dict[str, Any]:
    return {
        "schema": "offload-comparison/1",
        "sha": job.sha,
        "merge_base": job.merge_base,
        "built": base.built,
        "error": base.error,
        "tail": list(base.tail),
        "checks": {},
    }


def _needs_base(outcome: Outcome, tests: Dict[str, Results]) -> bool:
    if outcome.state == FAILED:
        return outcome.reason not in ("timeout", "no_space") and not outcome.missing_program
    results = tests.get(outcome.id)
    return outcome.role == "test" and results is not None and bool(results.failing)


def _rerun(
    job: Job, check: Dict[str, Any], outcome: Outcome, head: Results, base: "Run | None", timeout: float
) -> List[Run]:
    """Run the head's tests again while one fails that the base passes, at most twice."""
    found: List[Run] = []
    if (outcome.seconds or 0.0) > _RERUN_SECONDS or outcome.state != FAILED:
        return found
    while len(found) < _RERUNS:
        left = compare(head, base.results if base else None, [one.results for one in found])
        to_blame = bool(left.to_blame) if head.known else not any(one.passed for one in found)
        if not to_blame or (not head.known and base is not None and not base.passed):
            break
        say()
        say("%s on the head again, for the tests that only fail there" % check["task"])
        globs = check.get("results") or []
        with restored_head(job):
            found.append(execute(job, job.paths.worktree, check["shell"], globs=globs, timeout=timeout))
    return found
