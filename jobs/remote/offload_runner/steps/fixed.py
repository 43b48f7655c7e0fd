"""The evidence of a round: everything of the plan again, on the commit that the agent's changes became."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Mapping

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.git import worktree
from jobs.remote.offload_runner.protocol import EXIT_SOFTWARE, FAILED
from jobs.remote.offload_runner.steps import issue, repaired, rounds, sources
from jobs.remote.offload_runner.steps.evidence import read_evidence
from jobs.remote.offload_runner.steps.findings import NOTE, Evidence, Judgement
from jobs.remote.offload_runner.steps.record import Job, say
from jobs.remote.offload_runner.steps.results import Results
from jobs.remote.offload_runner.steps.trees import Run, ended, execute, present

_RERUN_SECONDS = 300.0
_MOST_LEFT = 30
_OF_THE_AGENT = ("he fix ", "he implementation ")
_SECRET = "it has a secret, which no round is given"


def run(job: Job) -> int:
    """Write the round's evidence, and whether there is a further round. Exit code 0 whatever it says."""
    state = rounds.read(job)
    if state is not None:
        # The agent's task was ended before it could say so: what it had made until then counts.
        rounds.close(state, "the agent did not come to an end")
    if state is None or not state["rounds"]:
        raise RunnerError("no_rounds", "There is no round to run the tests of.", exit_code=EXIT_SOFTWARE)
    last: Dict[str, Any] = state["rounds"][-1]
    number, commit = int(last["number"]), str(last["commit"])
    told = next(task["outputs"] for task in job.plan["tasks"] if task["role"] == "fixed")
    head = read_evidence(job)
    if last.get("test"):
        return _see_it_fail(job, state, head, told)
    of, branch = rounds.start_of(job, state), str((job.plan.get("job") or {}).get("branch") or "")
    changed = rounds.changes(job, state, commit)
    touched = sorted({str(item[key]) for item in changed for key in ("path", "old_path") if item[key]})
    worktree.move_to(job.paths.root, job.paths.session, commit, branch=branch)
    again = rounds.is_merged(state) or any(sources.is_manifest(path) for path in touched)
    again = again or any(one.state == FAILED for one in head.outcomes if one.role == "install")
    runs, skipped = _run_all(job, again)
    reruns: Dict[str, List[Dict[str, Any]]] = {}
    targets = repaired.targets(state)
    for task in _tasks(job, ("test",)):
        made = runs.get(task["id"])
        known = {case.key for case in targets.get(task["id"], [])}
        if made is None or made.seconds > _RERUN_SECONDS:
            continue
        if any(case.key not in known for case in made.results.failing):
            say("%s once more, for a test fails that was not to be repaired" % task["id"])
            reruns[task["id"]] = [_execute(job, task).to_json()]
    restored = [path for path in touched if rounds.touches_tests(job, path)]
    there = set(present(job, of, restored))
    laid_over = {path: path in there for path in restored}
    as_before: Dict[str, Any] = {}
    if restored and _tasks(job, ("test",)):
        say("The fix changes tests, or how they run: they run once more as they were.")
        worktree.move_to(job.paths.root, job.paths.session, commit, laid_over, of=of)
        try:
            for task in _tasks(job, ("test",)):
                if task["id"] in runs:
                    as_before[task["id"]] = _execute(job, task).to_json()
        finally:
            worktree.move_to(job.paths.root, job.paths.session, commit, branch=branch)
    rounds.write_evidence(
        job, number, commit, runs={name: made.to_json() for name, made in runs.items()}, reruns=reruns,
        skipped=skipped, restored=laid_over, as_before=as_before,
    )  # fmt: skip
    _, judgement = rounds.judged(job, state, head)
    left = _left(job, judgement)
    last["left"] = left
    seconds = time.time() - float(state["at"])
    open_conflict = any(topic["kind"] == "conflict" for topic in state["to_do"]) and not rounds.is_merged(
        state
    )
    if not left and not open_conflict and not _waits(state):
        why = "everything that was to be repaired is"
    elif last["stopped"]:
        why = str(last["stopped"])
    elif number >= int(told["rounds"]):
        why = _limit(number)
    else:
        why = _late(seconds, float(told["seconds"]))
    rounds.write(job, state, go_on=not why, why=why)
    for text in left:
        say("- %s" % text)
    say("%s." % (why[:1].upper() + why[1:] if why else "There is more to do"))
    return 0


def _see_it_fail(job: Job, state: Dict[str, Any], head: Evidence, told: Mapping[str, Any]) -> int:
    """Run the tests with those of a round, twice: what fails both times is what the next rounds make pass."""
    last: Dict[str, Any] = state["rounds"][-1]
    commit = str(last["commit"])
    branch = str((job.plan.get("job") or {}).get("branch") or "")
    worktree.move_to(job.paths.root, job.paths.session, commit, branch=branch)
    runs, skipped = _run_all(job, False, ("build", "test"))
    outcomes = {one.id: one for one in head.outcomes}
    found = []
    for task in _tasks(job, ("test",)):
        made = [runs[task["id"]]] if task["id"] in runs else []
        if made and not made[0].passed:
            say("%s once more: what fails must fail again" % task["id"])
            made.append(_execute(job, task))
        topic = issue.fails_now(outcomes[task["id"]], head.tests.get(task["id"], Results()), made)
        found += [topic] if topic is not None else []
    rounds.write_evidence(
        job, int(last["number"]), commit, runs={name: made.to_json() for name, made in runs.items()},
        reruns={}, skipped=skipped, restored={}, as_before={},
    )  # fmt: skip
    last["left"] = [] if found else ["No test fails with the tests of this round, so they prove nothing yet."]
    why = "" if len(state["rounds"]) < int(told["rounds"]) else _limit(int(told["rounds"]))
    why = why or _late(time.time() - float(state["at"]), float(told["seconds"]))
    if found:
        state = {**state, "tests_at": commit, "to_do": [*state["to_do"], *found]}
    rounds.write(job, state, go_on=not why, why=why)
    for topic in found:
        say("- %s" % topic["title"])
    say("%s." % why if why else "There is more to do.")
    return 0


def _limit(number: int) -> str:
    return "%d round%s made, which is the limit" % (number, " was" if number == 1 else "s were")


def _late(seconds: float, most: float) -> str:
    if seconds <= most:
        return ""
    return "the rounds took %d minutes, which is more than their limit" % (seconds // 60)


def _waits(state: Mapping[str, Any]) -> bool:
    """Tell whether the agent was not given the threads yet: the first round was for conflicts."""
    threads = any(topic["kind"] == "thread" for topic in state["to_do"])
    return threads and all(item["merged"] for item in state["rounds"])


def _left(job: Job, judgement: Judgement) -> List[str]:
    ours = {task["id"] for task in _tasks(job, rounds.AGAIN) if not task["secrets"]}
    found = [
        finding.message
        for finding in judgement.findings
        if finding.severity != NOTE
        and (finding.task in ours or any(word in finding.message for word in _OF_THE_AGENT))
    ]
    return found[:_MOST_LEFT]


def _tasks(job: Job, roles: "tuple[str, ...]") -> List[Dict[str, Any]]:
    return [task for task in job.plan["tasks"] if task["role"] in roles and task.get("shell")]


def _run_all(
    job: Job, installs: bool, roles: "tuple[str, ...]" = rounds.AGAIN
) -> "tuple[Dict[str, Run], Dict[str, str]]":
    runs: Dict[str, Run] = {}
    skipped: Dict[str, str] = {}
    for task in _tasks(job, roles):
        if task["role"] == "install" and not installs:
            continue
        if task["secrets"]:
            # Every other command of the round would run in an environment that has it.
            if task["role"] != "install":
                skipped[task["id"]] = _SECRET
            continue
        failed = [
            need
            for need in task["needs"]
            if skipped.get(need, _SECRET) != _SECRET or (need in runs and not runs[need].passed)
        ]
        if failed and task["when"] == "success":
            skipped[task["id"]] = "%s failed" % ", ".join(failed)
            continue
        say("$ %s" % (task["outputs"].get("shown") or task["shell"]))
        runs[task["id"]] = _execute(job, task)
        if not runs[task["id"]].passed:
            say("%s %s" % (task["id"], ended(runs[task["id"]])))
    return runs, skipped


def _execute(job: Job, task: Mapping[str, Any]) -> Run:
    globs = task["outputs"].get("results") or []
    return execute(
        job, job.paths.worktree, task["shell"], globs=globs, timeout=task["timeout"], env=task["env"] or None
    )
