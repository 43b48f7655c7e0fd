"""`assessment.md`: the verdict and what it rests on, so that a reader can check every line. Pure text."""

from __future__ import annotations

import re
import shlex
from typing import Any, List, Mapping, Optional, Sequence

from jobs.remote.offload_runner.git.command import shown
from jobs.remote.offload_runner.protocol import FAILED, SKIPPED, SUCCEEDED
from jobs.remote.offload_runner.steps import judge
from jobs.remote.offload_runner.steps.context import code, one_line, overview
from jobs.remote.offload_runner.steps.judge import Evidence, Finding, Judgement, Outcome
from jobs.remote.offload_runner.steps.record import Job, counted

_TAIL_LINES = 25
_WORDS = {judge.PASS: "PASS", judge.NEEDS_WORK: "NEEDS WORK", judge.FAIL: "FAIL"}
_RESULT = {
    "proof": "fails on the base, passes on the head: **proof**",
    "proves_nothing": "passes on both: proves nothing about this change",
    "still_fails": "fails on both",
    "regression": "passes on the base, **fails on the head**",
    "passes": "passes on the head; the base was not tried",
    "fails": "**fails on the head**; the base was not tried",
}
# Steps that the runner does itself are no commands that anybody could type.
_OWN_STEPS = ("context", "conflicts", "proof", "agent", "synthesis")


def headline(verdict: str, sha: str) -> str:
    """Return the verdict in one line."""
    return "Verdict: %s for %s" % (_WORDS[verdict], sha)


def render(job: Job, evidence: Evidence, judgement: Judgement) -> str:
    """Return the assessment as Markdown."""
    about = job.plan.get("job") or {}
    title = " ".join(
        str(part)
        for part in (about.get("repository") or job.prepared.get("repository"), _target(about))
        if part
    )
    subject = one_line(str(job.prepared.get("subject") or ""))
    lines = ["# %s: %s" % (one_line(title), subject or job.sha[:10]), ""]
    lines += ["**%s** for `%s`. %s" % (_WORDS[judgement.verdict], job.sha, _why(judgement)), ""]
    if job.merge_base:
        based = "Compared with `%s` (%s)" % (job.base_sha, one_line(job.base_name))
        lines += ["%s; the change starts from `%s`." % (based, job.merge_base), ""]
    lines += _findings(judgement.findings)
    lines += _checked(evidence.outcomes)
    lines += _proof(evidence.proof)
    lines += _conflicts(evidence.conflicts)
    lines += _agent(evidence.agent)
    lines += _failures(evidence.outcomes)
    lines += ["## The change", "", *overview(job.changed), ""]
    lines += _by_hand(job, evidence.outcomes)
    return "\n".join(lines).rstrip("\n") + "\n"


def _target(about: Mapping[str, Any]) -> str:
    return "#%s" % about["number"] if about.get("number") else str(about.get("target") or "")


def _why(judgement: Judgement) -> str:
    if judgement.verdict == judge.PASS:
        return "Everything that was checked holds."
    serious = [finding for finding in judgement.findings if finding.severity != judge.NOTE]
    if not serious:
        return judgement.findings[0].message if judgement.findings else ""
    more = len(serious) - 1
    return one_line(serious[0].message) + (" And %d more." % more if more else "")


def _findings(findings: List[Finding]) -> List[str]:
    if not findings:
        return []
    lines = ["## Findings", ""]
    for finding in findings:
        where = ""
        if finding.file and finding.line:
            where = " (%s)" % code("%s:%d" % (finding.file, finding.line))
        lines.append("- **%s** %s%s" % (finding.severity, one_line(finding.message), where))
    return [*lines, ""]


def _checked(outcomes: Sequence[Outcome]) -> List[str]:
    shown_tasks = [task for task in outcomes if task.role != "synthesis"]
    if not shown_tasks:
        return []
    lines = [
        "## What was checked",
        "",
        "| task | result | seconds | exit code | command |",
        "|---|---|--:|--:|---|",
    ]
    for task in shown_tasks:
        seconds = "" if task.seconds is None else "%.1f" % task.seconds
        exit_code = "" if task.exit_code is None else str(task.exit_code)
        command = "built in" if task.role in _OWN_STEPS else code(_plain(task.command))
        name = one_line("%s: %s" % (task.id, task.name) if task.name != task.id else task.id)
        lines.append("| %s | %s | %s | %s | %s |" % (name, _result(task), seconds, exit_code, command))
    return [*lines, ""]


def _result(task: Outcome) -> str:
    if task.state == SKIPPED and task.when == "failure":
        return "not needed"
    if task.timed_out:
        return "timed out"
    if task.state == SKIPPED and task.reason:
        return "skipped: %s" % one_line(task.reason)
    return {SUCCEEDED: "passed", FAILED: "**failed**"}.get(task.state, task.state)


def _proof(answer: Optional[Mapping[str, Any]]) -> List[str]:
    if not answer:
        return []
    lines = ["## Behavioural proof", ""]
    lines += ["The changed tests were run on the base (with these tests laid over it) and on the head.", ""]
    if not answer.get("base_built", True):
        lines += ["The base could not be built: %s." % one_line(str(answer.get("base_error") or "")), ""]
        lines += _block(answer.get("base_tail") or [])
    if answer.get("files"):
        lines += ["| test file | base | head | says |", "|---|---|---|---|"]
    for item in answer.get("files") or []:
        cells = (code(item["path"]), _run(item.get("base")), _run(item.get("head")), _RESULT[item["result"]])
        lines.append("| %s | %s | %s | %s |" % cells)
    lines.append("")
    for item in answer.get("files") or []:
        if item["head"] and item["head"]["outcome"] != "pass":
            lines += ["The last lines of %s on the head:" % code(item["path"]), ""]
            lines += _block(item["head"].get("tail") or [])
    return lines


def _run(run: Optional[Mapping[str, Any]]) -> str:
    if not run:
        return "not run"
    if run["outcome"] == "timeout":
        return "timed out"
    told = "exit %s, %.1f s" % (run["exit_code"], run["seconds"])
    return told if run.get("loaded", True) else told + ", could not be loaded"


def _conflicts(answer: Optional[Mapping[str, Any]]) -> List[str]:
    if not answer:
        return []
    behind = counted(int(answer.get("behind") or 0), "commit")
    lines = ["## Merging", ""]
    if answer.get("clean"):
        return [*lines, "Merges cleanly with `%s`; %s behind it." % (answer["base_sha"], behind), ""]
    lines += [
        "Conflicts with `%s`%s:"
        % (answer["base_sha"], ": " + answer["reason"] if answer.get("reason") else "")
    ]
    return [*lines, "", *("- %s" % code(name) for name in answer.get("files") or []), ""]


def _agent(answer: Optional[Mapping[str, Any]]) -> List[str]:
    if not answer or not answer.get("summary"):
        return []
    told = "What %s says of it (an opinion, not evidence):" % one_line(
        str(answer.get("agent") or "the agent")
    )
    return ["## The agent's review", "", told, "", one_line(str(answer["summary"])), ""]


def _failures(outcomes: Sequence[Outcome]) -> List[str]:
    failed = [
        task
        for task in outcomes
        if task.state == FAILED and task.tail.strip() and task.role not in _OWN_STEPS
    ]
    if not failed:
        return []
    lines = ["## Last lines of what failed", ""]
    for task in failed:
        lines += ["### %s" % one_line(task.id), "", *_block(task.tail.splitlines())]
    return lines


def _block(lines: List[str]) -> List[str]:
    text = [shown(line) for line in lines[-_TAIL_LINES:]]
    longest = max([len(run) for line in text for run in re.findall("`+", line)] + [2])
    fence = "`" * (longest + 1)
    return [fence + "text", *text, fence, ""]


def _by_hand(job: Job, outcomes: Sequence[Outcome]) -> List[str]:
    url, ref = str(job.prepared.get("url") or ""), str(job.prepared.get("ref") or "HEAD")
    lines = ["git clone %s again && cd again" % shlex.quote(shown(url))]
    lines += ["git fetch origin %s" % shlex.quote(shown(ref)), "git checkout --detach %s" % job.sha]
    for task in outcomes:
        if task.role not in (*_OWN_STEPS, "test_base", "agent") and task.command and task.state != SKIPPED:
            lines += ["# %s" % shown(task.name), _plain(task.command)]
    return ["## By hand", "", "The same commit and commands on any machine:", "", "```sh", *lines, "```", ""]


def _plain(command: str) -> str:
    return command.replace("{worktree}", ".").replace("{python}", "python3")
