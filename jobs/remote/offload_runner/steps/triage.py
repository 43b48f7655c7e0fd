"""What is to be repaired: what counts against the head, and the threads of the forge, as `rounds.json`."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Mapping

from jobs.remote.offload_runner.git.command import shown
from jobs.remote.offload_runner.protocol import FAILED
from jobs.remote.offload_runner.steps import issue, rounds
from jobs.remote.offload_runner.steps.difference import Difference
from jobs.remote.offload_runner.steps.evidence import read_evidence
from jobs.remote.offload_runner.steps.findings import NOTE, Evidence, Judgement, Outcome
from jobs.remote.offload_runner.steps.judge import judge
from jobs.remote.offload_runner.steps.record import Job, counted, say
from jobs.remote.offload_runner.steps.results import Results

_MOST_CASES = 200
_MOST_THREADS = 30
_MOST_LINES = 40
_MOST_COMMENT = 4000


def run(job: Job) -> int:
    """Write `rounds.json` and say what is to be done. Exit code 0."""
    known = rounds.read(job)
    if known is not None and (known["rounds"] or known["parts"]):
        say("The rounds have begun already.")
        return 0
    roles = {task["role"] for task in job.plan["tasks"]}
    wanted = (job.plan.get("job") or {}).get("issue")
    state: Dict[str, Any] = {"at": time.time(), "rounds": [], "parts": []}
    if wanted:
        to_do = [issue.topic_of(wanted)]
        state["tests_at"] = ""
        why = (
            "" if "test" in roles else "no test command of the repository is known, so nothing can be proven"
        )
    else:
        evidence = read_evidence(job)
        to_do = topics(evidence, judge(evidence))
        why = "" if to_do else "nothing is to be repaired"
    why = why or ("" if "fix" in roles else "no agent was named")
    rounds.write(job, {**state, "to_do": to_do}, go_on=not why, why=why)
    if not to_do:
        say("Nothing is to be repaired.")
    for topic in to_do:
        say("- %s" % topic["title"])
        for line in topic["lines"][:5]:
            say("    %s" % line)
    return 0


def topics(evidence: Evidence, judgement: Judgement) -> List[Dict[str, Any]]:
    """Return what counts against the head and could be repaired. Pure."""
    found: List[Dict[str, Any]] = []
    conflicts = evidence.conflicts
    if conflicts is not None and not conflicts.get("clean") and not conflicts.get("reason"):
        files = [str(name) for name in conflicts["files"]]
        title = "Conflicts with the base in %s" % counted(len(files), "file")
        found.append(_topic("conflict", "conflicts", title, files, paths=files))
    serious = {finding.task for finding in judgement.findings if finding.severity != NOTE}
    for outcome in evidence.outcomes:
        if outcome.role in rounds.AGAIN and (outcome.id in serious or (evidence.empty and _fails(outcome))):
            found += _of_task(outcome, evidence, judgement.differences.get(outcome.id))
    for thread in ((evidence.forge or {}).get("threads") or ())[:_MOST_THREADS]:
        found.append(_of_thread(thread))
    return found


def _fails(outcome: Outcome) -> bool:
    return outcome.state == FAILED and outcome.could_run and not outcome.timed_out


def _of_task(outcome: Outcome, evidence: Evidence, difference: "Difference | None") -> List[Dict[str, Any]]:
    results = evidence.tests.get(outcome.id, Results())
    cases = difference.to_blame if difference is not None else []
    if evidence.empty:
        cases = results.failing
    if cases:
        lines = [line for case in cases[:10] for line in (case.title + ":", *_indented(case.lines[-15:]))]
        what = "%s fails" % cases[0].title if len(cases) == 1 else "%d tests fail" % len(cases)
        told = _topic("tests", outcome.id, "%s (%s)" % (what, outcome.id), lines)
        return [{**told, "cases": [case.to_json() for case in cases[:_MOST_CASES]]}]
    if not _fails(outcome):
        return []  # nothing that a change of the code would repair
    kind = "problems" if outcome.role in ("lint", "types") else "command"
    return [_topic(kind, outcome.id, "%s fails" % outcome.name, outcome.tail.splitlines())]


def _of_thread(thread: Mapping[str, Any]) -> Dict[str, Any]:
    where = "%s:%s" % (thread["path"], thread["line"]) if thread["line"] else str(thread["path"])
    lines = []
    for author, text in thread["comments"]:
        lines += ["%s:" % author, *_indented(str(text)[:_MOST_COMMENT].splitlines())]
    told = _topic("thread", "", "Unresolved thread at %s" % where, lines, paths=[str(thread["path"])])
    return {**told, "thread": str(thread["id"]), "where": shown(where)[:200]}


def _topic(
    kind: str, task: str, title: str, lines: List[str], paths: "List[str] | None" = None
) -> Dict[str, Any]:
    told = [shown(line)[:400] for line in lines[-400:]]
    kept = told[:_MOST_LINES] if kind in ("tests", "conflict", "thread") else told[-_MOST_LINES:]
    return {
        "kind": kind, "task": task, "title": shown(title)[:200], "lines": kept, "cases": [],
        "paths": paths or [], "thread": "", "where": "",
    }  # fmt: skip


def _indented(lines: "List[str] | tuple[str, ...]") -> List[str]:
    return ["  " + line for line in lines]
