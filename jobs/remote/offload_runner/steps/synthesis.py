"""The end of a review: `verdict.json` and `assessment.json` for programs, `assessment.md` for people.

`verdict.json`: {"schema": "offload-verdict/1", "verdict": "pass|needs_work|fail", "sha", "judged_sha",
"merge_base", "proof": true|false|null, "findings": [{"severity": "error|warning|note", "task", "message",
"file", "line"}]}. `judged_sha`: the commit that the verdict is about.
`assessment.json` holds all of the evidence; `docs/playbooks.md` describes it.
"""

from __future__ import annotations

from jobs.remote.offload_runner.git import worktree
from jobs.remote.offload_runner.git.command import shown
from jobs.remote.offload_runner.steps import judge, repaired, rounds
from jobs.remote.offload_runner.steps.assessment import headline, render, to_json
from jobs.remote.offload_runner.steps.evidence import read_evidence
from jobs.remote.offload_runner.steps.findings import NEEDS_WORK, NOTE, PASS, WARNING, Finding, Judgement
from jobs.remote.offload_runner.steps.proven import few, is_proven
from jobs.remote.offload_runner.steps.record import Job, say
from jobs.remote.offload_runner.steps.restored import altered_files


def run(job: Job) -> int:
    """Judge the job and write the three files. Exit code 0 whatever the verdict is."""
    evidence = read_evidence(job)
    state = rounds.read(job) if any(task["role"] == "triage" for task in job.plan["tasks"]) else None
    if state is None:
        judgement = judge.judge(evidence)
    else:
        evidence, judgement = rounds.judged(job, state, evidence)
    judgement = _about_secrets(job, _about_the_tree(job, _about_the_commit(job, evidence.sha, judgement)))
    job.write(
        "verdict.json",
        {
            "schema": "offload-verdict/1",
            "verdict": judgement.verdict,
            "sha": job.sha,
            "judged_sha": evidence.sha,
            "merge_base": job.merge_base,
            "proof": is_proven(evidence) if state is None else repaired.is_proven(state, evidence, judgement),
            "findings": [finding.to_json() for finding in judgement.findings],
        },
    )
    job.write("assessment.json", to_json(job, evidence, judgement))
    job.write_text("assessment.md", render(job, evidence, judgement))
    say(headline(judgement.verdict, evidence.sha))
    for finding in judgement.findings:
        say("  %s: %s" % (finding.severity, finding.message))
    return 0


def _about_the_commit(job: Job, sha: str, judgement: Judgement) -> Judgement:
    # The verdict is about one commit: say so when the worktree stands at another one by now.
    here = worktree.head_of(job.paths.worktree)
    if here == sha:
        return judgement
    told = "The worktree is at %s now, so it is not certain that every task saw %s." % (
        shown(here[:10]) or "no commit",
        sha[:10],
    )
    worst = NEEDS_WORK if judgement.verdict == PASS else judgement.verdict
    findings = [Finding(WARNING, "", told), *judgement.findings]
    return Judgement(worst, findings, judgement.differences)


def _about_the_tree(job: Job, judgement: Judgement) -> Judgement:
    altered = altered_files(job)
    if not altered:
        return judgement
    told = (
        "The tests change files of the commit: %s. The proof, and tests that were run again, had them as "
        "committed." % few(altered)
    )
    findings = [*judgement.findings, Finding(NOTE, "", told, file=altered[0])]
    return Judgement(judgement.verdict, findings, judgement.differences)


def _about_secrets(job: Job, judgement: Judgement) -> Judgement:
    # In a container such a task is apart from everything else; without one nothing keeps it apart.
    if job.is_isolated:
        return judgement
    told = (
        "%s had %s without a container: every program of the worker's user could read it, and the tree was "
        "not read-only."
    )
    notes = [
        Finding(NOTE, task, told % (task, ", ".join(names))) for task, names in job.tasks_with_secrets.items()
    ]
    return Judgement(judgement.verdict, [*judgement.findings, *notes], judgement.differences)
