"""One call of an agent: in its own place, with a fresh profile, its output read as it comes."""

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
from jobs.remote.offload_runner.git.command import shown
from jobs.remote.offload_runner.protocol import AT_LIMIT, MODEL_CALL, MODEL_LIMIT, THINKING, TOOL
from jobs.remote.offload_runner.steps.agent_events import OUTPUTS
from jobs.remote.offload_runner.steps.agent_output import Output, Report
from jobs.remote.offload_runner.steps.record import Job, say
from jobs.remote.offload_runner.wire import now, runner_argv

EXIT_NO_PROGRAM = 127
_COMPLAINT_BYTES = 16 * 1024
_VERSION_SECONDS = 60.0
_SHOWN = 200
_ANSWERED = 200
_AT_WORK = (THINKING, TOOL, AT_LIMIT)
_SESSION = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_GO_ON = "You were interrupted. Go on, and answer in the form that you were asked for.\n"
_MOST_COMPLAINTS = 8 * 1024 * 1024
# The task's own limit ends the step, and the agent with it.
_SECONDS = 24 * 3600.0


def call_agent(
    job: Job, call: Dict[str, Any], material: str, *, about: str, session: Optional[str] = None
) -> Tuple[int, Optional[Output]]:
    """Call an agent with the plan's prompt and `material`; return 0 and what it said, or an exit code.

    `about`: the commit that it works on; `session`: of its own, to go on with ("": none; None: one that
    was interrupted at this commit, if there is one).
    """
    place = job.paths.place(AGENT)
    home = place.home / "agent"
    profile: Optional[Dict[str, Any]] = call["profile"]
    if profile is not None:
        home = place.home / str(profile["name"])
        _copy_profile(job, profile)
    places = {
        "{home}": str(home),
        "{worktree}": str(job.paths.worktree),
        "{tree}": str(job.paths.agent_tree),
    }
    argv = [_placed(word, places) for word in call["argv"]]
    env = {"HOME": str(home)}
    env.update({name: _placed(text, places) for name, text in call["env"].items()})
    if call.get("oldest") is not None:
        unusable = _check_version(job, argv[0], call["oldest"], env)
        if unusable:
            say("%s `offload doctor --agents` says how to install it." % unusable)
            return EXIT_NO_PROGRAM, None
    prompt = "\n".join([_placed(call["prompt"], places), material])
    say("Asking %s; it reads %d characters." % (call["name"], len(prompt)))
    sys.stdout.flush()
    # In no worktree unless the agent's settings say so: settings and hooks there are the change's.
    cwd = Path(_placed(call["cwd"], places)) if call.get("cwd") else home / "work"
    ask = functools.partial(_ask, job, call, env, cwd, about)
    session = interrupted_session(job, call, about) if session is None else session
    if session:
        say("It goes on with its session %s." % session)
        places["{session}"] = session
        code, output = ask([_placed(word, places) for word in call["resume"]], _GO_ON)
    if not session or (output.problem and not output.text):
        code, output = ask(argv, prompt)
    if code == EXIT_NO_PROGRAM:
        say("%s is not installed on this worker." % argv[0])
        return EXIT_NO_PROGRAM, None
    if code != 0 or output.problem:
        say(output.text)
        how = "failed" if code == 0 or output.is_over else "ended with exit code %d" % code
        say("%s %s%s" % (argv[0], how, ": %s" % output.problem if output.problem else "."))
        until = _limit(job)
        if until:
            say("Its model is at a limit that ends at %s. Start the job again then, with --fresh." % until)
        return 1, None
    return 0, output


def _ask(
    job: Job, call: Dict[str, Any], env: Dict[str, str], cwd: Path, about: str, argv: List[str], prompt: str
) -> Tuple[int, Output]:
    """Run the agent; return its exit code and what it wrote."""
    secrets = [os.environ[name] for name in call["secrets"] if os.environ.get(name)]
    heard = _Heard(OUTPUTS[call.get("output", "text")](say, _reporter(job, call, about)), secrets)
    words = [*runner_argv(job.paths.root), "call-agent", "--cwd", str(cwd), *argv]
    code = run_as_job(
        job.paths, words, cwd=job.paths.place(AGENT).home, env=env, timeout=_SECONDS, output=heard.feed,
        given=prompt.encode("utf-8", "replace"), is_over=heard.is_over, place=AGENT,
    )  # fmt: skip
    heard.end()
    if heard.complaints.strip():
        say(heard.complaints.strip("\n"))
    return code, heard.output


def interrupted_session(job: Job, call: Dict[str, Any], about: str) -> str:
    """Return the session of an earlier start of this agent, about a commit, that did not end; else ""."""
    found = read_json(job.paths.agent_state)
    if not call.get("resume") or not isinstance(found, dict) or found.get("state") not in _AT_WORK:
        return ""
    session = str(found.get("session") or "")
    is_ours = (found.get("agent"), found.get("sha")) == (call["name"], about)
    return session if is_ours and _SESSION.fullmatch(session) else ""


def _limit(job: Job) -> str:
    """Return when the limit ends at which the last call of the model was refused; "" without one."""
    last = None
    for event in Journal(job.paths.journal).read():
        if event["kind"] == MODEL_LIMIT or (event["kind"] == MODEL_CALL and event.get("status") == _ANSWERED):
            last = event
    return str(last.get("until") or "") if last is not None and last["kind"] == MODEL_LIMIT else ""


def _reporter(job: Job, call: Dict[str, Any], about: str) -> Report:
    """Return what writes down what the agent does, for the runner and for the next start."""

    def report(state: str, detail: str, evidence: str, session: str) -> None:
        found = {"state": state, "detail": detail, "since": now(), "evidence": evidence}
        found.update(session=session, agent=call["name"], sha=about)
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
