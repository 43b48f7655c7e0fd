"""The agent's review of the change: read-only, with a fresh profile, its findings as `agent.json`.

`agent.json`: {"schema": "offload-agent/1", "sha", "agent", "summary", "findings": [{"severity":
"warning|note", "message", "file", "line", "quote", "verified", "why_not"}]}, and what else its output tells:
"session", "model", "tool_calls", "tokens" and "cost" in dollars, as the agent counts them.
Runs after everything else of the plan has ended: what the change's own code left running would see the
agent's key.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional

from jobs.remote.offload_runner.git.command import shown, writable
from jobs.remote.offload_runner.protocol import FAILED
from jobs.remote.offload_runner.steps.agent_call import call_agent
from jobs.remote.offload_runner.steps.context import render
from jobs.remote.offload_runner.steps.evidence import read_outcomes
from jobs.remote.offload_runner.steps.quotes import verify
from jobs.remote.offload_runner.steps.record import Job, say

_DIFF_BYTES = 400_000
_MOST_TRIES = 1000  # places in a text where an object may begin
_MOST_LINES = 100_000_000
_MOST_FINDINGS = 50
_MESSAGE = 600
_SUMMARY = 2000
_QUOTE = 1000


def run(job: Job) -> int:
    """Call the agent and write `agent.json`. Exit code 0: it answered; 1: not in a way that can be read."""
    call = next(task["outputs"]["agent"] for task in job.plan["tasks"] if task["role"] == "agent")
    code, output = call_agent(job, call, _material(job), about=job.sha)
    if output is None:
        return code
    answer = read(output.text)
    if answer is None:
        say(output.text)
        say("The answer is not the JSON object that was asked for.")
        return 1
    answer["findings"] = verify(job, answer["findings"])
    job.write(
        "agent.json",
        {"schema": "offload-agent/1", "sha": job.sha, "agent": call["name"], **output.about, **answer},
    )
    say(answer["summary"])
    for finding in answer["findings"]:
        where = "%s:%s: " % (finding["file"], finding["line"]) if finding["line"] else ""
        opinion = " (an opinion: %s)" % finding["why_not"] if finding["why_not"] else ""
        say("  %s: %s%s%s" % (finding["severity"], where, finding["message"], opinion))
    return 0


def _material(job: Job) -> str:
    parts = [render(job), "## What build and tests came to", ""]
    for task in read_outcomes(job):
        if task.role not in ("agent", "synthesis"):
            parts.append("- %s: %s" % (task.id, task.state))
            if task.state == FAILED and task.tail:
                parts += ["", *("    " + shown(line) for line in task.tail.splitlines()), ""]
    words = ["diff", "--no-color", "--no-ext-diff", "--no-textconv", job.merge_base or job.base_sha, job.sha]
    diff = job.git.beginning(_DIFF_BYTES + 1, *words, "--") if job.merge_base else b""
    cut = len(diff) > _DIFF_BYTES
    parts += ["", "## Diff%s" % (" (only its beginning)" if cut else ""), ""]
    return "\n".join([*parts, diff[:_DIFF_BYTES].decode("utf-8", "replace")])


def read(output: str) -> Optional[Dict[str, Any]]:
    """Return `{"summary", "findings"}` of what an agent says; None when it holds no such answer.

    An agent may quote the change, which may hold an answer of its own: what any of them finds counts.
    """
    answers = [answer for answer in _objects(output) if isinstance(answer["findings"], list)]
    if not answers:
        return None
    said = [_words(answer.get("summary")) for answer in answers]
    summary = writable(next((text for text in reversed(said) if text), "")[:_SUMMARY])
    findings: List[Dict[str, Any]] = []
    for item in (item for answer in answers for item in answer["findings"] if isinstance(item, dict)):
        finding = _finding(item)
        # An answer that was cut off is given again.
        if finding["message"] and finding not in findings and len(findings) < _MOST_FINDINGS:
            findings.append(finding)
    return {"summary": summary, "findings": findings}


def _objects(text: str) -> List[Dict[str, Any]]:
    """Return the JSON objects with findings in a text that may say more around them (a fence, a warning)."""
    decoder = json.JSONDecoder()
    found: List[Dict[str, Any]] = []
    at = text.find("{")
    for _ in range(_MOST_TRIES):
        if at < 0:
            break
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            if "findings" in value:
                found.append(value)
        at = text.find("{", end)
    return found


def _words(value: object) -> str:
    return value if isinstance(value, str) else ""


def _finding(item: Dict[str, Any]) -> Dict[str, Any]:
    line = item.get("line")
    file = item.get("file")
    quote = item.get("quote")
    is_line = isinstance(line, int) and not isinstance(line, bool) and 0 < line < _MOST_LINES
    return {
        # An opinion never makes a verdict fail; evidence does.
        "severity": "note" if item.get("severity") == "note" else "warning",
        "message": shown(" ".join(_words(item.get("message")).split()))[:_MESSAGE],
        "file": shown(file)[:400] if isinstance(file, str) and file else None,
        "line": line if is_line and isinstance(file, str) and file else None,
        "quote": shown(quote)[:_QUOTE] if isinstance(quote, str) else "",
    }
