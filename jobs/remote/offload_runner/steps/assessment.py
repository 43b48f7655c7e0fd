"""`assessment.md`: the verdict and what it rests on, so that a reader can check every line. Pure text."""

from __future__ import annotations

import re
import shlex
from typing import Any, Dict, List, Mapping, Optional, Sequence

from jobs.remote.offload_runner.git.command import shown
from jobs.remote.offload_runner.protocol import FAILED, SKIPPED, SUCCEEDED
from jobs.remote.offload_runner.steps.context import code, one_line, overview
from jobs.remote.offload_runner.steps.difference import Difference
from jobs.remote.offload_runner.steps.findings import (
    FAIL,
    NEEDS_WORK,
    NOTE,
    PASS,
    Evidence,
    Finding,
    Judgement,
    Outcome,
)
from jobs.remote.offload_runner.steps.on_forge import forge_section
from jobs.remote.offload_runner.steps.proven import proves
from jobs.remote.offload_runner.steps.record import Job, counted
from jobs.remote.offload_runner.steps.results import Case, Results
from jobs.remote.offload_runner.steps.results.model import OUTCOMES
from jobs.remote.offload_runner.steps.rounds import made_for

_AGENT_KEY = "The agent held %s: what talked it into something could send that elsewhere."
_NOT_ISOLATED = "Not isolated: the change's code ran as the worker's user, who could change these results."
_TAIL_LINES = 25
_MOST_NAMED = 20
_WORDS = {PASS: "PASS", NEEDS_WORK: "NEEDS WORK", FAIL: "FAIL"}
_RESULT = {
    "proof": "fails on the base, passes on the head: **proof**",
    "proves_nothing": "passes on both: proves nothing about this change",
    "still_fails": "fails on both",
    "regression": "passes on the base, **fails on the head**",
    "passes": "passes on the head; the base was not tried",
    "fails": "**fails on the head**; the base was not tried",
    "not_run": "no test of it ran",
}
# Steps that the runner does itself are no commands that a person could type.
_OWN_STEPS = (
    *("context", "conflicts", "base", "test_base", "proof", "hunks", "agent", "triage", "fix", "fixed"),
    "synthesis",
)
_IMPLEMENTED = ["## The implementation", "", "To be implemented on `%s`, from a failing test on:"]
_LISTS = (
    ("broken", "broken by this change"),
    ("new_failing", "new and failing"),
    ("unknown", "failing, unknown on the base"),
    ("already_failing", "already failing on the base"),
    ("flaky", "flaky"),
    ("fixed", "fixed by this change"),
    ("removed", "removed"),
    ("not_run", "not run on the head"),
    ("moved", "moved"),
    ("added", "new"),
)


def headline(verdict: str, sha: str) -> str:
    """Return the verdict in one line."""
    return "Verdict: %s for %s" % (_WORDS[verdict], sha)


def reason(evidence: Evidence, judgement: Judgement) -> str:
    """Return why the verdict is what it is, in one sentence."""
    serious = [finding for finding in judgement.findings if finding.severity != NOTE]
    if serious:
        more = len(serious) - 1
        return serious[0].message + (" And %d more." % more if more else "")
    if judgement.verdict != PASS:
        return judgement.findings[0].message if judgement.findings else ""
    return "Nothing that was checked counts against the change%s." % (
        "; %s" % ", ".join(_counts(evidence)) if _counts(evidence) else ""
    )


def _counts(evidence: Evidence) -> List[str]:
    """Return how many tests ran, and how many changed test files prove the change."""
    found = []
    known = [results for results in evidence.tests.values() if results.known]
    if known:
        ran = sum(results.count("passed", "failed", "error", "xfail") for results in known)
        skipped = sum(results.count("skipped") for results in known)
        found.append(
            "%s ran" % counted(ran, "test")
            + (" and %s skipped" % ("1 was" if skipped == 1 else "%d were" % skipped) if skipped else "")
        )
    proving = proves(evidence)
    if proving:
        verb = "proves" if len(proving) == 1 else "prove"
        found.append("%s %s it" % (counted(len(proving), "changed test file"), verb))
    return found


def to_json(job: Job, evidence: Evidence, judgement: Judgement) -> Dict[str, Any]:
    """Return the assessment as data: see `docs/playbooks.md` for the schema."""
    about = job.plan.get("job") or {}
    return {
        "schema": "offload-assessment/1",
        "verdict": judgement.verdict,
        "reason": reason(evidence, judgement),
        "sha": job.sha,
        "judged_sha": evidence.sha,
        "base": {
            "ref": job.base_name,
            "sha": job.base_sha,
            "merge_base": job.merge_base,
            "chosen_because": str(job.prepared.get("base_reason") or ""),
        },
        "repository": str(about.get("repository") or job.prepared.get("repository") or ""),
        "target": _target(about),
        "isolated": job.is_isolated,
        "agent_secrets": job.agent_secrets,
        "findings": [finding.to_json() for finding in judgement.findings],
        "tests": {
            name: _tests_json(results, judgement.differences.get(name))
            for name, results in evidence.tests.items()
        },
        "proof": evidence.proof,
        "hunks": evidence.hunks,
        "conflicts": evidence.conflicts,
        "agent": evidence.agent,
        "forge": evidence.forge,
        "fix": job.read("rounds.json"),
        "weakened": [dict(item) for item in evidence.weakened],
        "reverts": evidence.reverts,
        "not_checked": [str(note["message"]) for note in evidence.notes],
        "tasks": [
            {
                "id": task.id,
                "name": task.name,
                "role": task.role,
                "state": task.state,
                "exit_code": task.exit_code,
                "seconds": task.seconds,
                "reason": task.reason,
                "command": task.command,
            }
            for task in evidence.outcomes
            if task.role != "synthesis"
        ],
    }


def _tests_json(results: Results, difference: Optional[Difference]) -> Dict[str, Any]:
    return {
        "source": results.source or None,
        "complete": results.complete,
        "notes": list(results.notes),
        "total": len(results.cases),
        **{outcome: results.count(outcome) for outcome in OUTCOMES},
        **{
            name: [_case_json(case) for case in getattr(difference, name)] if difference else []
            for name, _ in _LISTS
            if name != "added"
        },
        "added": len(difference.added) if difference else 0,
        "cases": [_case_json(case) for case in results.cases],
    }


def _case_json(case: Case) -> Dict[str, Any]:
    return {
        "name": case.title,
        "file": case.at_file or case.file or None,
        "line": case.at_line,
        "outcome": case.outcome,
        "seconds": case.seconds,
        "message": case.message or None,
        "lines": list(case.lines),
    }


def render(job: Job, evidence: Evidence, judgement: Judgement) -> str:
    """Return the assessment as Markdown: the reason, what is proven and what is not, then the details."""
    about = job.plan.get("job") or {}
    title = " ".join(
        str(part)
        for part in (about.get("repository") or job.prepared.get("repository"), _target(about))
        if part
    )
    subject = one_line(str(job.prepared.get("subject") or ""))
    lines = ["# %s: %s" % (one_line(title), subject or job.sha[:10]), ""]
    why = one_line(reason(evidence, judgement))
    lines += ["**%s** for `%s`. %s" % (_WORDS[judgement.verdict], evidence.sha, why), ""]
    lines += _findings(judgement.findings)
    lines += _rounds(job.read("rounds.json"))
    lines += _tests(evidence, judgement)
    lines += _proof(evidence)
    lines += _hunks(evidence.hunks)
    lines += _conflicts(evidence.conflicts)
    lines += forge_section(evidence.forge)
    lines += _agent(evidence.agent)
    lines += ["## Details", ""]
    lines += _based_on(job)
    if not job.is_isolated:
        lines += [_NOT_ISOLATED, ""]
    if job.agent_secrets:
        lines += [_AGENT_KEY % ", ".join("`%s`" % name for name in job.agent_secrets), ""]
    lines += _checked(evidence.outcomes)
    lines += _failures(evidence, judgement)
    lines += ["### The change", "", *overview(job.changed), ""]
    lines += _by_hand(job, evidence.outcomes)
    return "\n".join(lines).rstrip("\n") + "\n"


def _based_on(job: Job) -> List[str]:
    if not job.merge_base:
        return []
    told = "Compared with `%s` (%s)" % (job.base_sha, one_line(job.base_name))
    because = str(job.prepared.get("base_reason") or "")
    told += ", %s" % one_line(because) if because else ""
    return ["%s; the change starts from `%s`." % (told, job.merge_base), ""]


def _target(about: Mapping[str, Any]) -> str:
    return "#%s" % about["number"] if about.get("number") else str(about.get("target") or "")


def _findings(findings: List[Finding]) -> List[str]:
    if not findings:
        return []
    lines = ["## Findings", ""]
    for finding in findings:
        where = ""
        if finding.file and finding.line:
            where = " (%s)" % code("%s:%d" % (finding.file, finding.line))
        kind = "%s, opinion" % finding.severity if finding.opinion else finding.severity
        lines.append("- **%s** %s%s" % (kind, one_line(finding.message), where))
    return [*lines, ""]


def _tests(evidence: Evidence, judgement: Judgement) -> List[str]:
    ran = [task for task in evidence.outcomes if task.role == "test" and task.state in (SUCCEEDED, FAILED)]
    if not ran:
        return []
    lines = ["## Tests", ""]
    for task in ran:
        results = evidence.tests.get(task.id, Results())
        if not results.known:
            told = "no per-test results, so its exit code is the evidence"
        else:
            parts = [(results.count(outcome), outcome) for outcome in OUTCOMES]
            told = ", ".join("%d %s" % part for part in parts if part[0]) or "no tests"
            told += "" if results.complete else " (the results are incomplete)"
        lines.append("- %s: %s." % (one_line(task.name), told))
        difference = judgement.differences.get(task.id)
        for name, words in _LISTS if difference is not None else ():
            cases = getattr(difference, name)
            if cases:
                named = ", ".join(code(case.title) for case in cases[:_MOST_NAMED])
                more = len(cases) - _MOST_NAMED
                lines.append("  - %s: %s%s" % (words, named, " and %d more" % more if more > 0 else ""))
        lines += ["  - %s" % one_line(note) for note in results.notes[:5]]
    return [*lines, ""]


def _rounds(state: Any) -> List[str]:
    if not state or not (state["to_do"] or state["rounds"]):
        return []
    is_fix = "tests_at" not in state
    lines = ["## The fix", "", "To be repaired in `%s`:"] if is_fix else _IMPLEMENTED
    lines = [*lines[:2], lines[2] % state["sha"], ""]
    lines += ["- %s" % one_line(topic["title"]) for topic in state["to_do"]]
    for item in state["rounds"]:
        lines += ["", "### Round %d%s" % (item["number"], _used(item["parts"]))]
        for part in item["parts"]:
            lines += ["", *_part(state, part)]
        lines.append("")
        left = item["left"]
        told = "Its tests did not run to their end." if left is None else "By its tests, nothing is left."
        lines += ["Left after it:", "", *("- %s" % one_line(text) for text in left)] if left else [told]
    lines += ["", "It ended because %s." % one_line(state["why"])] if state["why"] else []
    return [*lines, ""]


def _used(parts: Sequence[Mapping[str, Any]]) -> str:
    tokens = sum(part["tokens"] for part in parts)
    if not tokens:
        return ""
    known = all(part["dollars"] is not None for part in parts)
    money = ", %.2f dollars" % sum(part["dollars"] for part in parts) if known else ""
    return " (%d tokens%s)" % (tokens, money)


def _part(state: Mapping[str, Any], part: Mapping[str, Any]) -> List[str]:
    named = [one_line(title) for title in made_for(state, part)] or ["what was left"]
    if not part["commit"]:
        lines = ["No commit for %s: %s." % (_listed(named), one_line(part["why"]))]
    else:
        about = (part["commit"], one_line(part["subject"]), _listed(named))
        lines = ["Commit `%s`, which is not pushed: %s. It answers: %s." % about]
    if part["summary"]:
        lines += ["", "The agent says (an opinion, not evidence): %s" % one_line(part["summary"])]
    return lines


def _listed(names: List[str]) -> str:
    more = len(names) - _MOST_NAMED
    return "; ".join(names[:_MOST_NAMED]) + ("; and %d more" % more if more > 0 else "")


def _checked(outcomes: Sequence[Outcome]) -> List[str]:
    shown_tasks = [task for task in outcomes if task.role != "synthesis"]
    if not shown_tasks:
        return []
    lines = [
        "### What was run",
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
    if task.timed_out:
        return "timed out"
    if task.state == SKIPPED and task.reason:
        return "skipped: %s" % one_line(task.reason)
    return {SUCCEEDED: "passed", FAILED: "**failed**"}.get(task.state, task.state)


def _proof(evidence: Evidence) -> List[str]:
    answer = evidence.proof
    if not answer or (answer.get("base_built", True) and not answer.get("files")):
        return []
    lines = ["## Behavioural proof", ""]
    lines += ["The changed tests were run on the base (with these tests laid over it) and on the head.", ""]
    if not answer.get("base_built", True):
        lines += ["The base could not be built: %s." % one_line(str(answer.get("base_error") or "")), ""]
        lines += _block(answer.get("base_tail") or [])
    if answer.get("files"):
        lines += ["| test file | base | head | says |", "|---|---|---|---|"]
    proving = proves(evidence)
    for item in answer.get("files") or []:
        says = _RESULT[item["result"]]
        if item["result"] == "proof" and item["path"] not in proving:
            why = (
                "the change has no source"
                if not answer.get("source_changed", True)
                else "its tests are flaky"
            )
            says = "differs, though %s: no proof" % why
        on_base = _run(item.get("base"))
        if item.get("own_support"):
            on_base += ", with the base's own test support"
        cells = (code(item["path"]), on_base, _run(item.get("head")), says)
        lines.append("| %s | %s | %s | %s |" % cells)
    lines.append("")
    for item in answer.get("files") or []:
        names = (item.get("tests") or {}).get("proof") or []
        if names and item["path"] in proving:
            shown_names = ", ".join(code(name) for name in names[:_MOST_NAMED])
            lines += ["Proving tests: %s." % shown_names, ""]
            lines += ["On the base they end like this:", "", *_block(item["base"].get("tail") or [])]
        elif item["head"] and item["head"]["exit_code"]:
            lines += ["The last lines of %s on the head:" % code(item["path"]), ""]
            lines += _block(item["head"].get("tail") or [])
    return lines


def _run(run: Optional[Mapping[str, Any]]) -> str:
    if not run:
        return "not run"
    if run["timed_out"]:
        return "timed out"
    return "exit %s, %.1f s" % (run["exit_code"], run["seconds"])


def _hunks(answer: Optional[Mapping[str, Any]]) -> List[str]:
    if not answer or not answer.get("hunks"):
        return []
    tried = answer["hunks"]
    covered = sum(item["result"] == "covered" for item in tried)
    lines = ["## Proof per hunk", ""]
    told = "%s of the source were taken back one at a time; %d of them make a test fail (%.1f s)."
    lines += [told % (counted(len(tried), "hunk"), covered, answer["seconds"])]
    if answer.get("not_tried"):
        lines += ["%s were not tried: %s." % (counted(answer["not_tried"], "hunk"), answer["why_not_tried"])]
    return [*lines, ""]


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


def _failures(evidence: Evidence, judgement: Judgement) -> List[str]:
    """Return the failing lines of each test that counts, and the last lines of what has no test results."""
    lines: List[str] = []
    for difference in judgement.differences.values():
        for case in difference.to_blame[:_MOST_NAMED]:
            if case.lines:
                lines += ["#### %s" % one_line(case.title), "", *_block(list(case.lines))]
    for task in evidence.outcomes:
        explained = task.id in judgement.differences and judgement.differences[task.id].to_blame
        if task.state == FAILED and task.tail.strip() and task.role not in _OWN_STEPS and not explained:
            lines += ["#### %s" % one_line(task.id), "", *_block(task.tail.splitlines())]
    return ["### Failing lines", "", *lines] if lines else []


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
        if task.role not in _OWN_STEPS and task.command and task.state != SKIPPED:
            lines += ["# %s" % shown(task.name), _plain(task.command)]
    return ["### By hand", "", "The same commit and commands on any machine:", "", "```sh", *lines, "```", ""]


def _plain(command: str) -> str:
    return command.replace("{worktree}", ".").replace("{python}", "python3")
