"""What a fix is to repair, and its rounds: what the agent changed, and what ran on that commit.

`rounds.json`, which is also the gate of the rounds' tasks:

    {"schema": "offload-rounds/1", "sha", "at": seconds, "to_do": [TOPIC], "rounds": [ROUND],
     "parts": [PART of the round that is being made], "tests_at": of an implementation, see `issue`,
     "go_on": bool, "why": why there is no further round}
    TOPIC = {"kind": "conflict|tests|command|problems|thread|issue", "task", "title", "lines": [...],
             "cases": [CASE of results.model], "paths": [...], "thread": its id on the forge or "", "where"}
    PART = {"topics": [numbers of topics], "commit": or "", "why": why there is none, "merged": bool,
            "subject", "summary": what the agent says, "tokens", "dollars": used by the gateway;
            null where its calls have no price}
    ROUND = {"number", "parts": [PART], "commit": the last one, "merged": bool, "stopped": why no round
             follows or "", "left": null or [what its evidence says is left]}

`round-N.json`, the evidence of a round, of its commit only:

    {"schema": "offload-round/1", "sha", "runs": {task: RUN}, "reruns": {task: [RUN]}, "skipped": {task: why},
     "restored": {path: whether the head has it}, "as_before": {task: RUN}}

`as_before`: the tests again, with the changed tests and their configuration as they are in the head.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, List, Mapping, Optional, Sequence

from jobs.remote.offload_runner.engine.journal import Journal
from jobs.remote.offload_runner.git import facts
from jobs.remote.offload_runner.protocol import FAILED, MODEL_CALL, SKIPPED, SUCCEEDED
from jobs.remote.offload_runner.steps import issue, repaired, sources
from jobs.remote.offload_runner.steps.conflicts import merged
from jobs.remote.offload_runner.steps.evidence import changed_tests
from jobs.remote.offload_runner.steps.findings import NOTE, Compared, Evidence, Finding, Judgement, Outcome
from jobs.remote.offload_runner.steps.judge import judge
from jobs.remote.offload_runner.steps.problems import missing_tool
from jobs.remote.offload_runner.steps.record import Job
from jobs.remote.offload_runner.steps.trees import Run

NAME = "rounds"
_SCHEMA = "offload-rounds/1"
_ROUND_SCHEMA = "offload-round/1"
# Which tasks of the plan run again on the commit of a round.
AGAIN = ("install", "build", "test", "lint", "types", "custom")


def read(job: Job) -> Optional[Dict[str, Any]]:
    """Return `rounds.json` of this commit; None when there is none."""
    found = job.read(NAME + ".json")
    ours = isinstance(found, dict) and found.get("schema") == _SCHEMA and found.get("sha") == job.sha
    return found if ours else None


def used(job: Job) -> "tuple[int, Optional[float]]":
    """Return the tokens and dollars that the agents of the rounds used, as the gateway counted them."""
    calls = [event for event in Journal(job.paths.journal).read() if event["kind"] == MODEL_CALL]
    calls = [event for event in calls if str(event.get("task") or "").startswith("fix-")]
    tokens = sum(int(event.get("input") or 0) + int(event.get("output") or 0) for event in calls)
    known = all(event.get("dollars") is not None for event in calls)
    return tokens, round(sum(event["dollars"] for event in calls), 6) if calls and known else None


def used_by_part(job: Job, state: Mapping[str, Any]) -> Dict[str, Any]:
    """Return what the agent used since the last part, with what a killed start of this one had used."""
    parts = [part for item in state["rounds"] for part in item["parts"]] + list(state["parts"])
    tokens, dollars = used(job)
    before = sum(part["dollars"] or 0.0 for part in parts)
    return {
        "tokens": tokens - sum(part["tokens"] for part in parts),
        "dollars": None if dollars is None else round(dollars - before, 6),
    }


def budget_is_used_up(job: Job, call: Mapping[str, Any]) -> str:
    """Return that the budget of the job's agents is used up, in words; "" when it is not."""
    budget = (call.get("gateway") or {}).get("budget") or {}
    tokens, dollars = used(job)
    if budget.get("tokens") and tokens >= budget["tokens"]:
        return "the budget of the job is used up: %d of %d tokens" % (tokens, budget["tokens"])
    if budget.get("dollars") and (dollars or 0.0) >= budget["dollars"]:
        return "the budget of the job is used up: %.2f of %.2f dollars" % (dollars or 0.0, budget["dollars"])
    return ""


def close(state: Dict[str, Any], stopped: str) -> bool:
    """End the round that is being made, if it has a commit. `stopped`: why no round follows its evidence."""
    parts = state["parts"]
    commits = [part["commit"] for part in parts if part["commit"]]
    if not commits:
        return False
    merged = any(part["merged"] and part["commit"] for part in parts)
    entry = {"number": len(state["rounds"]) + 1, "parts": parts, "commit": commits[-1], "merged": merged}
    entry.update(stopped=stopped, left=None)
    if issue.wants_test(state):
        entry["test"] = True
    state["rounds"] = [*state["rounds"], entry]
    state["parts"] = []
    return True


def write(job: Job, state: Mapping[str, Any], *, go_on: bool, why: str) -> None:
    """Write `rounds.json`, and with it whether there is a further round."""
    job.write(NAME + ".json", {**state, "schema": _SCHEMA, "sha": job.sha, "go_on": go_on, "why": why})


def current(job: Job, state: Mapping[str, Any]) -> str:
    """Return the commit that the agent's next changes are made to."""
    made = [item["commit"] for item in [*state["rounds"], *state["parts"]] if item["commit"]]
    return str(made[-1]) if made else job.sha


def made_for(state: Mapping[str, Any], item: Mapping[str, Any]) -> List[str]:
    """Return what a round or a part of one was to repair: the titles of its topics."""
    return [str(state["to_do"][number]["title"]) for number in item["topics"]]


def start_of(job: Job, state: Mapping[str, Any]) -> str:
    """Return the commit whose tests count: the head, or that of an implementation's first test."""
    return str(state.get("tests_at") or job.sha)


def is_merged(state: Mapping[str, Any]) -> bool:
    """Tell whether a round has merged the base."""
    return any(item["merged"] for item in state["rounds"])


def changes(job: Job, state: Mapping[str, Any], commit: str) -> List[Dict[str, Any]]:
    """Return the files that the fix changes, without those that are now as in the base that it merged."""
    found = facts.changed(job.git, start_of(job, state), commit)
    if not is_merged(state):
        return found
    names = {str(item["path"]) for item in facts.changed(job.git, job.base_sha, commit)}
    return [item for item in found if item["path"] in names]


def write_evidence(job: Job, number: int, commit: str, **told: Any) -> None:
    """Write the evidence of a round."""
    job.write("round-%d.json" % number, {"schema": _ROUND_SCHEMA, "sha": commit, **told})


def read_evidence(job: Job, item: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    """Return the evidence of a round; None when it has none that is about its commit."""
    found = job.read("round-%d.json" % item["number"])
    ours = isinstance(found, dict) and found.get("schema") == _ROUND_SCHEMA
    return found if ours and found["sha"] == item["commit"] else None


def judged(job: Job, state: Mapping[str, Any], head: Evidence) -> "tuple[Evidence, Judgement]":
    """Return the evidence and the judgement of the last round's commit, or of the head without one.

    What the forge said is about the head before the fix: it is shown, and does not count.
    """
    item = next((one for one in reversed(state["rounds"]) if read_evidence(job, one)), None)
    told = read_evidence(job, item) if item is not None else None
    if item is None or told is None:
        judgement = judge(replace(head, forge=None))
        says_nothing = issue.about_nothing if issue.is_one(state) else repaired.about_nothing
        return head, _with(judgement, says_nothing(state))
    evidence = _of_round(job, state, head, item, told)
    before = {name: Run.from_json(run) for name, run in told["as_before"].items()}
    taken = _weakened(job, start_of(job, state), evidence.sha, changes(job, state, evidence.sha))
    # What the fix takes from the tests is said once, as the fix's.
    rest = [one for one in evidence.weakened if one not in taken]
    judgement = judge(replace(evidence, forge=None, weakened=rest))
    findings = repaired.about_fix(state, evidence, before, list(told["restored"]), taken)
    if issue.is_one(state):
        more = issue.about(state, evidence, repaired.commands(state))
        findings = [*issue.in_its_words(findings), *more, *repaired.unseen(state, evidence)]
    return evidence, _with(judgement, findings)


def _with(judgement: Judgement, more: Sequence[Finding]) -> Judgement:
    findings = [*more, *judgement.findings]
    return repaired.judgement_of(findings, judgement)


def _of_round(
    job: Job, state: Mapping[str, Any], head: Evidence, item: Mapping[str, Any], told: Mapping[str, Any]
) -> Evidence:
    commit = str(item["commit"])
    runs = {name: Run.from_json(run) for name, run in told["runs"].items()}
    start = job.base_sha if is_merged(state) else job.merge_base
    changed = facts.changed(job.git, start, commit) if start else []
    compared = issue.compared(head) if issue.is_one(state) else dict(head.compared)
    for name, reruns in told["reruns"].items():
        base = compared[name].base if name in compared else None
        compared[name] = Compared(base, tuple(Run.from_json(run) for run in reruns))
    conflicts = head.conflicts
    if conflicts is not None and not conflicts.get("reason"):
        files = merged(job.git, job.base_sha, commit, start) if not is_merged(state) else []
        conflicts = {**conflicts, "clean": not files, "files": files, "sha": commit}
    outcomes = [_outcome(one, runs, told["skipped"], conflicts) for one in head.outcomes]
    return replace(
        head,
        outcomes=outcomes,
        tests={one.id: runs[one.id].results for one in outcomes if one.role == "test" and one.id in runs},
        compared=compared,
        proof=None,
        hunks=None,
        agent=None,
        conflicts=conflicts,
        weakened=_weakened(job, start, commit, changed),
        reverts="",
        changed=changed,
        sha=commit,
        empty=bool(start) and not changed,
        notes=[*head.notes, *_about_rounds(state)],
        base_built=True if issue.is_one(state) else head.base_built,
    )


def _about_rounds(state: Mapping[str, Any]) -> List[Dict[str, str]]:
    count = len(state["rounds"])
    what = "implementation" if issue.is_one(state) else "fix"
    told = "In what follows, the head is the commit of the %s (%d round%s)."
    told = told % (what, count, "s" * (count != 1))
    return [{"message": told, "severity": NOTE}]


def _outcome(
    one: Outcome,
    runs: Mapping[str, Run],
    skipped: Mapping[str, str],
    conflicts: Optional[Mapping[str, Any]],
) -> Outcome:
    if one.role == "conflicts" and conflicts is not None:
        return replace(one, state=SUCCEEDED if conflicts.get("clean") else FAILED)
    if one.id in skipped:
        return replace(one, state=SKIPPED, reason=skipped[one.id], exit_code=None, tail="")
    run = runs.get(one.id)
    if run is None:
        return one
    tail = "\n".join(run.tail)
    return replace(
        one,
        state=SUCCEEDED if run.passed else FAILED,
        exit_code=run.exit_code,
        seconds=run.seconds,
        reason="timeout" if run.timed_out else "",
        tail="" if run.passed else tail,
        missing_tool="" if run.passed else missing_tool(tail),
        problems=run.problems if one.role in ("lint", "types") else (),
    )


def _weakened(job: Job, base: str, head: str, changed: Sequence[Mapping[str, Any]]) -> List[Dict[str, Any]]:
    tests, unread = changed_tests(job, base, head, changed)
    return sources.weakened(tests) + unread


def touches_tests(job: Job, path: str) -> bool:
    """Tell whether a path is a test, or decides how tests run: what a fix must not have changed to pass."""
    if sources.is_test(path) or sources.is_test_setting(path):
        return True
    name = path.rsplit("/", 1)[-1]
    shells = [str(task.get("shell") or "") for task in job.plan["tasks"] if task.get("role") == "test"]
    return sources.is_script(path) and any(name in shell for shell in shells)
