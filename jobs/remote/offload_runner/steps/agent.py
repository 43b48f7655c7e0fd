"""The agent's review of the change: read-only, with a fresh profile, its findings as `agent.json`.

`agent.json`: {"schema": "offload-agent/1", "sha", "agent", "summary", "findings": [{"severity":
"warning|note", "message", "file", "line", "quote", "verified", "why_not"}]}, and what else its output tells:
"session", "model", "tool_calls", "tokens" and "cost" in dollars, as the agent counts them.
Runs after everything else of the plan has ended: what the change's own code left running would see the
agent's key.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from jobs.remote.offload_runner.commands.agent import STDERR, STDOUT
from jobs.remote.offload_runner.engine import frames
from jobs.remote.offload_runner.engine.job_command import run_as_job
from jobs.remote.offload_runner.engine.journal import Journal
from jobs.remote.offload_runner.engine.redact import BytesRedactor
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import AGENT, read_json, write_json
from jobs.remote.offload_runner.git.command import shown, writable
from jobs.remote.offload_runner.protocol import AT_LIMIT, FAILED, MODEL_CALL, MODEL_LIMIT, THINKING, TOOL
from jobs.remote.offload_runner.steps.agent_events import OUTPUTS
from jobs.remote.offload_runner.steps.agent_output import Output, Report
from jobs.remote.offload_runner.steps.context import render
from jobs.remote.offload_runner.steps.evidence import read_outcomes
from jobs.remote.offload_runner.steps.quotes import verify
from jobs.remote.offload_runner.steps.record import Job, say
from jobs.remote.offload_runner.wire import now, runner_argv

EXIT_NO_PROGRAM = 127
_DIFF_BYTES = 400_000
_COMPLAINT_BYTES = 16 * 1024
_VERSION_SECONDS = 60.0
_SHOWN = 200
_ANSWERED = 200
_AT_WORK = (THINKING, TOOL, AT_LIMIT)
_SESSION = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_GO_ON = "You were interrupted. Go on, and answer with the JSON object that you were asked for.\n"
_MOST_COMPLAINTS = 8 * 1024 * 1024
# The task's own limit ends the step, and the agent with it.
_SECONDS = 24 * 3600.0
_MOST_TRIES = 1000  # places in a text where an object may begin
_MOST_LINES = 100_000_000
_MOST_FINDINGS = 50
_MESSAGE = 600
_SUMMARY = 2000
_QUOTE = 1000


def run(job: Job) -> int:
    """Call the agent and write `agent.json`. Exit code 0: it answered; 1: not in a way that can be read."""
    call = next(task["outputs"]["agent"] for task in job.plan["tasks"] if task["role"] == "agent")
    place = job.paths.place(AGENT)
    home = place.home / "agent"
    about: Optional[Dict[str, Any]] = call["profile"]
    if about is not None:
        home = place.home / str(about["name"])
        _copy_profile(job, about)
    places = {"{home}": str(home), "{worktree}": str(job.paths.worktree)}
    argv = [_placed(word, places) for word in call["argv"]]
    env = {"HOME": str(home)}
    env.update({name: _placed(text, places) for name, text in call["env"].items()})
    if call.get("oldest") is not None:
        unusable = _check_version(job, argv[0], call["oldest"], env)
        if unusable:
            say("%s `offload doctor --agents` says how to install it." % unusable)
            return EXIT_NO_PROGRAM
    prompt = "\n".join([_placed(call["prompt"], places), _material(job)])
    say("Asking %s; it reads %d characters." % (call["name"], len(prompt)))
    sys.stdout.flush()
    # Not in the worktree: its settings and hooks are the change's.
    ask = functools.partial(_ask, job, call, env, home / "work")
    session = _interrupted_session(job, call)
    if session:
        say("It goes on with its session %s." % session)
        places["{session}"] = session
        code, output = ask([_placed(word, places) for word in call["resume"]], _GO_ON)
    if not session or (output.problem and not output.text):
        code, output = ask(argv, prompt)
    if code == EXIT_NO_PROGRAM:
        say("%s is not installed on this worker." % argv[0])
        return EXIT_NO_PROGRAM
    if code != 0 or output.problem:
        say(output.text)
        how = "failed" if code == 0 or output.is_over else "ended with exit code %d" % code
        say("%s %s%s" % (argv[0], how, ": %s" % output.problem if output.problem else "."))
        until = _limit(job)
        if until:
            say("Its model is at a limit that ends at %s. Start the job again then, with --fresh." % until)
        return 1
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


def _ask(
    job: Job, call: Dict[str, Any], env: Dict[str, str], cwd: Path, argv: List[str], prompt: str
) -> Tuple[int, Output]:
    """Run the agent; return its exit code and what it wrote."""
    secrets = [os.environ[name] for name in call["secrets"] if os.environ.get(name)]
    heard = _Heard(OUTPUTS[call.get("output", "text")](say, _reporter(job, call)), secrets)
    words = [*runner_argv(job.paths.root), "call-agent", "--cwd", str(cwd), *argv]
    code = run_as_job(
        job.paths, words, cwd=job.paths.place(AGENT).home, env=env, timeout=_SECONDS, output=heard.feed,
        given=prompt.encode("utf-8", "replace"), is_over=heard.is_over, place=AGENT,
    )  # fmt: skip
    heard.end()
    if heard.complaints.strip():
        say(heard.complaints.strip("\n"))
    return code, heard.output


def _interrupted_session(job: Job, call: Dict[str, Any]) -> str:
    """Return the session of an earlier start of this agent, about this commit, that did not end; else ""."""
    found = read_json(job.paths.agent_state)
    if not call.get("resume") or not isinstance(found, dict) or found.get("state") not in _AT_WORK:
        return ""
    session = str(found.get("session") or "")
    is_ours = (found.get("agent"), found.get("sha")) == (call["name"], job.sha)
    return session if is_ours and _SESSION.fullmatch(session) else ""


def _limit(job: Job) -> str:
    """Return when the limit ends at which the last call of the model was refused; "" without one."""
    last = None
    for event in Journal(job.paths.journal).read():
        if event["kind"] == MODEL_LIMIT or (event["kind"] == MODEL_CALL and event.get("status") == _ANSWERED):
            last = event
    return str(last.get("until") or "") if last is not None and last["kind"] == MODEL_LIMIT else ""


def _reporter(job: Job, call: Dict[str, Any]) -> Report:
    """Return what writes down what the agent does, for the runner and for the next start."""

    def report(state: str, detail: str, evidence: str, session: str) -> None:
        found = {"state": state, "detail": detail, "since": now(), "evidence": evidence}
        found.update(session=session, agent=call["name"], sha=job.sha)
        with contextlib.suppress(OSError):  # a full disk ends the job for other reasons
            write_json(job.paths.agent_state, found, durable=False)

    return report


def _check_version(job: Job, program: str, oldest: List[int], env: Dict[str, str]) -> str:
    """Return why a program is not used, "" if it is: an old one may not honour what keeps it from writing."""
    said = bytearray()
    code = run_as_job(
        job.paths, [program, "--version"], cwd=job.paths.home, env=env, timeout=_VERSION_SECONDS,
        output=said.extend, is_over=lambda: len(said) > _COMPLAINT_BYTES,
    )  # fmt: skip
    if code == EXIT_NO_PROGRAM:
        return "%s is not installed on this worker." % program
    lines = said.decode("utf-8", "replace").strip().splitlines()
    last = shown(lines[-1])[:_SHOWN] if lines else ""
    found = re.match(r"\D*(\d+)\.(\d+)", last)
    if found is not None and [int(found[1]), int(found[2])] >= oldest:
        return ""
    needed = ".".join(map(str, oldest))
    return "%s is not used: version %s or newer is needed, and it says %r." % (program, needed, last)


class _Heard:
    """Takes the frames of `call-agent`: the agent's output as it comes, and the end of its complaints."""

    def __init__(self, output: Output, secrets: List[str]) -> None:
        self.output = output
        self._frames = frames.Reader()
        self._redactors = {STDOUT: BytesRedactor(secrets), STDERR: BytesRedactor(secrets)}
        self._complaints = bytearray()
        self._complained = 0

    @property
    def complaints(self) -> str:
        return self._complaints.decode("utf-8", "replace")

    def is_over(self) -> bool:
        return self.output.is_over

    def feed(self, data: bytes) -> None:
        if self.output.is_over:
            return
        try:
            for number, _, payload in self._frames.feed(data):
                self._take(number, self._redactors[number].feed(payload))
        except (ValueError, KeyError):
            # Not from `call-agent`: it could not start, or another program writes there.
            self._take(STDERR, self._redactors[STDERR].feed(data))
            self.output.cut("It could not be followed.")

    def end(self) -> None:
        for number, redactor in self._redactors.items():
            self._take(number, redactor.flush())
        self.output.end()

    def _take(self, number: int, data: bytes) -> None:
        if number == STDOUT:
            self.output.feed(data)
            return
        self._complained += len(data)
        if self._complained > _MOST_COMPLAINTS:
            self.output.cut("It wrote more than %d MiB to stderr." % (_MOST_COMPLAINTS >> 20))
        self._complaints += data
        del self._complaints[:-_COMPLAINT_BYTES]


def _copy_profile(job: Job, about: Dict[str, Any]) -> None:
    """Make the agent's profile afresh in its HOME, where it runs: what is there may be a trap."""
    words = [*runner_argv(job.paths.root), "copy-profile"]
    given = {**about, "places": {"{model_url}": os.environ.get("OFFLOAD_MODEL_URL", "")}}
    said = bytearray()
    code = run_as_job(
        job.paths, [*words, "--session", job.paths.session], cwd=job.paths.root, env={},
        timeout=60, output=said.extend, given=json.dumps(given).encode(), place=AGENT,
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
