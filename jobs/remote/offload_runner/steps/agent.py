"""The agent's review of the change: read-only, with a fresh profile, its findings as `agent.json`.

`agent.json`: {"schema": "offload-agent/1", "sha", "agent", "summary", "findings": [{"severity":
"warning|note", "message", "file", "line", "quote", "verified", "why_not"}]}.
Runs after everything else of the plan has ended: what the change's own code left running would see the
agent's key.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Dict, List, Optional

from jobs.remote.offload_runner.engine.job_command import run_as_job
from jobs.remote.offload_runner.engine.redact import BytesRedactor
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.git.command import shown
from jobs.remote.offload_runner.protocol import FAILED, ISOLATED
from jobs.remote.offload_runner.steps.context import render
from jobs.remote.offload_runner.steps.evidence import read_outcomes
from jobs.remote.offload_runner.steps.quotes import verify
from jobs.remote.offload_runner.steps.record import Job, say
from jobs.remote.offload_runner.wire import runner_path

EXIT_NO_PROGRAM = 127
_DIFF_BYTES = 400_000
_ANSWER_BYTES = 4 * 1024 * 1024
# The task's own limit ends the step, and the agent with it.
_SECONDS = 24 * 3600.0
# $0: a line between what the agent says on stderr and on stdout, $1: its working directory.
_START = """mkdir -p -- "$1" && cd -- "$1" || exit
shift; exec 3>&1
said=$("$@" 2>&3 3>&-); code=$?
printf '\\n%s\\n%s\\n' "$0" "$said"; exit $code"""
_MOST_TRIES = 1000  # places in a text where an object may begin
_MOST_FINDINGS = 50
_MESSAGE = 600
_SUMMARY = 2000
_QUOTE = 1000


def run(job: Job) -> int:
    """Call the agent and write `agent.json`. Exit code 0: it answered; 1: not in a way that can be read."""
    call = next(task["outputs"]["agent"] for task in job.plan["tasks"] if task["role"] == "agent")
    home = job.paths.home / "agent"
    about: Optional[Dict[str, Any]] = call["profile"]
    if about is not None:
        home = job.paths.home / str(about["name"])
        _copy_profile(job, about)
    places = {"{home}": str(home), "{worktree}": str(job.paths.worktree)}
    argv = [_placed(word, places) for word in call["argv"]]
    env = {"HOME": str(home)}
    env.update({name: _placed(text, places) for name, text in call["env"].items()})
    prompt = "\n".join([_placed(call["prompt"], places), _material(job)])
    say("Asking %s; it reads %d characters." % (call["name"], len(prompt)))
    sys.stdout.flush()
    # Not in the worktree: its settings and hooks are the change's.
    mark = os.urandom(16).hex()
    words = ["/bin/sh", "-c", _START, mark, str(home / "work"), *argv]
    written = bytearray()
    code = run_as_job(
        job.paths, words, cwd=job.paths.home, env=env, timeout=_SECONDS,
        output=lambda data: written.extend(data[: _ANSWER_BYTES - len(written)]),
        given=prompt.encode("utf-8", "replace"),
    )  # fmt: skip
    if code == EXIT_NO_PROGRAM:
        say("%s is not installed on this worker." % argv[0])
        return EXIT_NO_PROGRAM
    secrets = [os.environ[name] for name in call["secrets"] if os.environ.get(name)]
    redactor = BytesRedactor(secrets)
    text = (redactor.feed(bytes(written)) + redactor.flush()).decode("utf-8", "replace")
    complaints, _, said = text.partition("\n%s\n" % mark)
    if complaints.strip():
        say(complaints.strip("\n"))
    if code != 0:
        say(said)
        say("%s ended with exit code %d." % (argv[0], code))
        return 1
    answer = read(said, str(call["answer"]))
    if answer is None:
        say(said)
        say("The answer is not the JSON object that was asked for.")
        return 1
    answer["findings"] = verify(job, answer["findings"])
    job.write("agent.json", {"schema": "offload-agent/1", "sha": job.sha, "agent": call["name"], **answer})
    say(answer["summary"])
    for finding in answer["findings"]:
        where = "%s:%s: " % (finding["file"], finding["line"]) if finding["line"] else ""
        opinion = " (an opinion: %s)" % finding["why_not"] if finding["why_not"] else ""
        say("  %s: %s%s%s" % (finding["severity"], where, finding["message"], opinion))
    return 0


def _copy_profile(job: Job, about: Dict[str, Any]) -> None:
    """Make the agent's profile afresh in the job's HOME, as the job: what is there may be a trap."""
    words = [sys.executable, *ISOLATED, runner_path(), "--root", str(job.paths.root), "copy-profile"]
    said = bytearray()
    code = run_as_job(
        job.paths, [*words, "--session", job.paths.session], cwd=job.paths.root, env={},
        timeout=60, output=said.extend, given=json.dumps(about).encode(),
    )  # fmt: skip
    if code != 0:
        message, _, hint = said.decode("utf-8", "replace").strip().partition("\n")
        raise RunnerError("profile_changed", message, hint)


def _placed(text: str, places: Dict[str, str]) -> str:
    for name, path in places.items():
        text = text.replace(name, path)
    return text


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


def read(output: str, key: str) -> Optional[Dict[str, Any]]:
    """Return `{"summary", "findings"}` of an agent's output; None when it holds no such answer.

    An agent may quote the change, which may hold an answer of its own: what any of them finds counts.
    """
    if key:
        outer = _objects(output, key)
        output = str(outer[-1].get(key) or "") if outer else ""
    answers = [answer for answer in _objects(output, "findings") if isinstance(answer["findings"], list)]
    if not answers:
        return None
    found = [_finding(item) for answer in answers for item in answer["findings"] if isinstance(item, dict)]
    said = [str(answer.get("summary") or "") for answer in answers]
    summary = next((text for text in reversed(said) if text), "")[:_SUMMARY]
    return {"summary": summary, "findings": [item for item in found if item["message"]][:_MOST_FINDINGS]}


def _objects(text: str, key: str) -> List[Dict[str, Any]]:
    """Return the JSON objects with a key in a text that may say more around them (a fence, a warning)."""
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
            if key in value:
                found.append(value)
        at = text.find("{", end)
    return found


def _finding(item: Dict[str, Any]) -> Dict[str, Any]:
    line = item.get("line")
    file = item.get("file")
    quote = item.get("quote")
    is_line = isinstance(line, int) and not isinstance(line, bool) and line > 0
    return {
        # An opinion never makes a verdict fail; evidence does.
        "severity": "note" if item.get("severity") == "note" else "warning",
        "message": " ".join(str(item.get("message") or "").split())[:_MESSAGE],
        "file": shown(file)[:400] if isinstance(file, str) and file else None,
        "line": line if is_line and isinstance(file, str) and file else None,
        "quote": shown(quote)[:_QUOTE] if isinstance(quote, str) else "",
    }
