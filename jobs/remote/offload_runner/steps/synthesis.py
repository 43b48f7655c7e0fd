"""The end of a review: `verdict.json` for programs, `assessment.md` for people.

`verdict.json`: {"schema": "offload-verdict/1", "verdict": "pass|needs_work|fail", "sha", "merge_base",
"findings": [{"severity": "error|warning|note", "task", "message", "file", "line"}]}
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from jobs.remote.offload_runner import protocol
from jobs.remote.offload_runner.engine.journal import Journal
from jobs.remote.offload_runner.git.command import Git, shown
from jobs.remote.offload_runner.steps import judge
from jobs.remote.offload_runner.steps.assessment import headline, render
from jobs.remote.offload_runner.steps.judge import Evidence, Finding, Judgement, Outcome
from jobs.remote.offload_runner.steps.record import Job, say


def run(job: Job) -> int:
    """Judge the job and write both files. Exit code 0 whatever the verdict is."""
    evidence = Evidence(
        outcomes=outcomes(job),
        proof=_of_this_commit(job, "proof.json"),
        conflicts=_of_this_commit(job, "conflicts.json"),
        agent=_of_this_commit(job, "agent.json"),
        changed=[item["path"] for item in job.changed],
        empty=bool(job.prepared.get("empty")),
        lfs=bool((job.prepared.get("facts") or {}).get("has_lfs")),
    )
    judgement = _about_the_commit(job, judge.judge(evidence))
    job.write(
        "verdict.json",
        {
            "schema": "offload-verdict/1",
            "verdict": judgement.verdict,
            "sha": job.sha,
            "merge_base": job.merge_base,
            "findings": [finding.to_json() for finding in judgement.findings],
        },
    )
    job.write_text("assessment.md", render(job, evidence, judgement))
    say(headline(judgement.verdict, job.sha))
    for finding in judgement.findings:
        say("  %s: %s" % (finding.severity, finding.message))
    return 0


def outcomes(job: Job) -> List[Outcome]:
    """Return what every task of the plan came to, as the journal tells it."""
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
        found.append(
            Outcome(
                id=task["id"],
                name=task.get("name") or task["id"],
                role=task.get("role") or "custom",
                state=event.get("state") or protocol.PENDING,
                exit_code=event.get("exit_code"),
                seconds=event.get("seconds"),
                reason=event.get("reason") or "",
                tail=str(event.get("tail") or "").replace("%s/" % job.paths.worktree, ""),
                command=command if command is not None else " ".join(task.get("argv") or []),
                when=task.get("when") or "success",
                missing_program=str(outputs.get("missing_program") or ""),
            )
        )
    return found


def _of_this_commit(job: Job, name: str) -> Optional[Dict[str, Any]]:
    # An answer about another commit would be evidence for something else.
    answer = job.read(name)
    return answer if isinstance(answer, dict) and answer.get("sha") == job.sha else None


def _about_the_commit(job: Job, judgement: Judgement) -> Judgement:
    # The verdict is about one commit: say so when the worktree stands at another one by now.
    here = Git(str(job.paths.worktree)).commit("HEAD") if job.paths.worktree.is_dir() else ""
    if here == job.sha:
        return judgement
    told = "The worktree is at %s now, so it is not certain that every task saw %s." % (
        shown(here[:10]) or "no commit",
        job.sha[:10],
    )
    worst = judge.NEEDS_WORK if judgement.verdict == judge.PASS else judgement.verdict
    return Judgement(worst, [*judgement.findings, Finding(judge.WARNING, "", told)])
