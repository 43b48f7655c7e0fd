"""What a forge said of the pull request when the job started: its findings and its part of the assessment.

The plan has it (`jobs.playbooks.forge_facts`). Its texts were written by other people: they are quoted.
"""

from __future__ import annotations

from typing import Any, List, Mapping, Optional

from jobs.remote.offload_runner.steps.context import code, one_line
from jobs.remote.offload_runner.steps.findings import NOTE, WARNING, Evidence, Finding

_MOST_NAMED = 20


def about_forge(evidence: Evidence) -> List[Finding]:
    """Return what the forge says is in the way of merging, and what of it is not known."""
    forge = evidence.forge
    if forge is None:
        return []
    if forge["why_not"]:
        told = "Checks, reviews, threads and branch rules of the forge were not looked at, for %s."
        severity = WARNING if forge["failed_to_read"] else NOTE
        return [Finding(severity, "", told % forge["why_not"])]
    findings = []
    if forge["head_sha"] != evidence.sha:
        told = "The forge has the head %s, and this is about %s: its checks and reviews are about the former."
        findings.append(Finding(WARNING, "", told % (forge["head_sha"][:10], evidence.sha[:10])))
    findings += [Finding(WARNING, "", "On the forge: %s" % text) for text in forge["blocks"]]
    return findings + [Finding(NOTE, "", "On the forge: %s" % text) for text in forge["unknown"]]


def forge_section(facts: Optional[Mapping[str, Any]]) -> List[str]:
    """Return what the forge said, with its time and commit; its texts are quoted as code."""
    if not facts:
        return []
    if facts["why_not"]:
        return ["## On the forge", "", "Not looked at: %s." % one_line(facts["why_not"]), ""]
    lines = [
        "## On the forge",
        "",
        "As read at %s, of the head `%s`:" % (facts["read_at"], facts["head_sha"]),
        "",
    ]
    lines += ["- %s" % one_line(text) for text in facts["blocks"] or ["Nothing is known to block the merge."]]
    lines += ["- %s" % one_line(text) for text in facts["unknown"]]
    for check in facts["failed"]:
        lines += ["- Check %s: %s%s" % (code(check["name"]), code(check["said"]), _in_step(check))]
        lines += ["  - failing: %s" % code(name) for name in check["tests"][:_MOST_NAMED]]
        if check["again"] or check["command"]:
            lines += ["  - again: %s" % code(_first_line(check["again"] or check["command"]))]
        lines += ["  - %s" % one_line(check["note"])] if check["note"] else []
    for thread in (facts["threads"] or ())[:_MOST_NAMED]:
        where = "%s:%s" % (thread["path"], thread["line"]) if thread["line"] else thread["path"]
        author, text = thread["comments"][0] if thread["comments"] else ("", "")
        lines += ["- Thread at %s, %s: %s" % (code(where), code(author), code(_first_line(text)[:200]))]
    return [*lines, ""]


def _in_step(check: Mapping[str, Any]) -> str:
    return " in the step %s" % code(check["step"]) if check["step"] else ""


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0] + (" …" if len(lines) > 1 else "") if lines else ""
