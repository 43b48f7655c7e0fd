"""What the command line prints: data on standard output, steps and advice on standard error."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jobs import invocation, serializers
from jobs.cli.local_time import local_zone
from jobs.client import get_client, json_of
from jobs.formats import format_age, format_duration
from jobs.models import Job
from jobs.remote.offload_runner.screen.table import cells
from jobs.states import JobState, LaunchPhase, Verdict
from jobs.terminal_text import GuardedTerminal, TerminalText, guard_terminal

if TYPE_CHECKING:
    from jobs.forges.ci_log import CiFailure
    from jobs.operations import ObservedPull

SCHEMA = "offload/1"
_COLOURS = {"green": "32", "red": "31", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}
_STATE = {
    JobState.QUEUED: ("…", "dim"),
    JobState.PREPARING: ("…", "blue"),
    JobState.RUNNING: ("▶", "blue"),
    JobState.CANCELLING: ("▶", "yellow"),
    JobState.SUCCEEDED: ("●", "green"),
    JobState.FAILED: ("✗", "red"),
    JobState.CANCELLED: ("○", "dim"),
    JobState.INTERRUPTED: ("!", "yellow"),
}
_VERDICT = {
    Verdict.PASS: ("pass", "green"),
    Verdict.NEEDS_WORK: ("needs work", "yellow"),
    Verdict.FAIL: ("fail", "red"),
}
_TASK_SIGNS = {
    "succeeded": "●",
    "failed": "✗",
    "running": "▶",
    "skipped": "–",
    "interrupted": "!",
    "pending": "…",
}
_terminal_text = TerminalText()
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Control characters, and those that turn the direction of the text around them.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
MOST_NAMED = 20  # checks, threads
MOST_TESTS = 5
LONGEST_LINE = 160


def colour(text: str, name: str, stream: Any = None) -> str:
    """Return `text` in a colour when the stream is a terminal that wants colours."""
    stream = stream or sys.stdout
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_COLOURS[name]}m{text}\x1b[0m"


def plain(text: str) -> str:
    """Return text from outside (the subject of a commit, a log line) without control characters."""
    return _CONTROL.sub("�", text)


def terminal_size() -> os.terminal_size:
    """Return the size of the terminal on standard output, as it is now; of a file, 80 columns and 24 lines.

    The variables COLUMNS and LINES do not count: a shell that exports them does not follow the window.
    """
    try:
        return os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        return os.terminal_size((80, 24))


def visible_width(text: str) -> int:
    """Return how many columns of the terminal a text takes: its colours none, a wide character two."""
    shown = _COLOUR.sub("", text)
    return len(shown) if shown.isascii() else cells(shown)


def say(text: str) -> None:
    """Print advice on standard error. A reader that has left does not stop the command (`2>&1 | head`)."""
    with contextlib.suppress(BrokenPipeError):
        print(invocation.render_commands(text), file=sys.stderr, flush=True)


class StepPrinter:
    """Numbered steps with the time since the start, on standard error: `[3/5]   1.3 s  Fetching ...`.

    `subject`: what all steps are about, when there are several.
    """

    def __init__(self, *, quiet: bool = False, subject: str = "") -> None:
        self.started = time.monotonic()
        self.quiet = quiet
        self.subject = f"{subject}: " if subject else ""

    def step(self, text: str, phase: LaunchPhase) -> None:
        """Print one step of a launch."""
        if not self.quiet:
            elapsed = time.monotonic() - self.started
            say(f"[{phase.value}/{len(LaunchPhase)}] {elapsed:5.1f} s  {plain(self.subject + text)}")


class TaskPrinter:
    """Prints on standard error how each task ended, once."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._printed: set[str] = set()

    def update(self, job: Job) -> None:
        """Print the tasks that have ended since the last call."""
        for task in job.tasks:
            if self.quiet or task["id"] in self._printed or task["state"] in ("pending", "running"):
                continue
            self._printed.add(task["id"])
            took = format_duration(task.get("seconds"))
            say(f"    {_TASK_SIGNS.get(task['state'], '○')} {task['id']} {task['state']}  {took}".rstrip())


def print_json(key: str, value: Any, **more: Any) -> None:
    """Print data in the envelope of `--json`."""
    print(json.dumps({"schema": SCHEMA, key: value, **more}, indent=2))


def print_job_json(job: Job, **more: Any) -> None:
    """Print one job as data, with what the verb adds to it."""
    print(json.dumps({"schema": SCHEMA, "job": json_of(job), **more}, indent=2))


def print_job_list_json(jobs: Sequence[Job]) -> None:
    """Print jobs as data."""
    print_json("jobs", [json_of(job) for job in jobs])


def draw(text: str) -> None:
    """Write control sequences of this program's own to the terminal. What stands in them must be safe."""
    stream = guard_terminal(sys.stdout)
    if isinstance(stream, GuardedTerminal):
        stream.draw(text)
        stream.flush()
    else:
        print(text, end="", flush=True)


def write_bytes(data: bytes) -> None:
    """Write what a job wrote to standard output at once; a terminal gets no control sequences but colours."""
    if sys.stdout.isatty():
        atexit.unregister(_end_terminal_text)
        atexit.register(_end_terminal_text)
        data = _terminal_text.feed(data).encode()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _end_terminal_text() -> None:
    sys.stdout.write(_terminal_text.end())


def state_words(job: Job) -> str:
    """Return sign, state, verdict and attention of a job. Colour only adds to the words."""
    sign, name = _STATE[JobState(job.state)]
    words = [colour(f"{sign} {job.state}", name)]
    if job.verdict:
        text, verdict_colour = _VERDICT[Verdict(job.verdict)]
        words.append(colour(text, verdict_colour))
    if attention := serializers.attention_text(job, local_zone()):
        words.append(colour(attention, "yellow"))
    if job.is_stale:
        words.append(colour("stale: the head has moved", "yellow"))
    return ", ".join(words)


def state_word(job: Job) -> str:
    """Return the verdict of a job, else its state, in one word with its sign, for a table."""
    sign, name = _STATE[JobState(job.state)]
    word: str = job.state
    if job.verdict and job.state == JobState.SUCCEEDED:
        word, name = _VERDICT[Verdict(job.verdict)]
    return colour(f"{sign} {word}", name) + (f" {colour('(stale)', 'yellow')}" if job.is_stale else "")


def print_commands(job: Job) -> None:
    """Print the commands that attach, read the logs, remove, and attach by hand."""
    for label, command in get_client().commands_for(job).items():
        if job.removed_at is None or label == "logs":
            print(f"    {colour(f'{label:<7}', 'dim')} {command}")


def print_job(job: Job) -> None:
    """Print one job: two lines, then the commands."""
    name = f":{job.name}" if job.name else ""
    where = colour(job.repository.slug, "dim")
    print(f"{colour(job.target + name, 'bold')} {job.action}  {plain(job.title)}  {where}")
    fixed = f", {job.made_word} as {job.fixed_sha[:10]}," if job.fixed_sha else ""
    sha = f"{job.sha[:10]}{fixed} " if job.sha else ""
    seen = f", seen {format_age(job.observed_at)}" if job.is_active and job.observed_at else ""
    print(f"  {state_words(job)}  {sha}on {job.worker}, {format_age(job.created_at)}{seen}")
    if job.reason_detail and (job.has_ended or job.state == JobState.QUEUED):
        print(f"  {plain(job.reason_text)} {plain(job.reason_detail)}")


def _line(text: str) -> str:
    """Return a text as one line that fits, without control characters."""
    text = plain(" ".join(text.split()))
    return text if len(text) <= LONGEST_LINE else f"{text[: LONGEST_LINE - 1]}…"


def _print_failure(failure: CiFailure) -> None:
    """Print what the log of a failed check says: failing tests, else its last lines, and how to repeat it."""
    for text in failure.tests[:MOST_TESTS] or failure.lines[-MOST_TESTS:]:
        print(f"        {_line(text)}")
    if len(failure.tests) > MOST_TESTS:
        print(f"        and {len(failure.tests) - MOST_TESTS} more tests")
    if again := failure.again or failure.command:
        print(f"        again: {_line(again)}")
    if failure.note:
        print(f"        {_line(failure.note)}")


def print_pull(pull: ObservedPull) -> None:
    """Print a pull request: its checks and unresolved threads by name, and what blocks the merge."""
    row = pull.row
    print(f"{colour(f'#{row.number}', 'bold')} {plain(' '.join(row.title.split()))}  by {plain(row.author)}")
    size = f", +{row.additions} -{row.deletions} in {row.changed_files} files" if row.details_at else ""
    refs = f"{_line(row.head_ref)} to {_line(row.base_ref)}"
    labels = "".join(f" [{_line(label)}]" for label in row.labels)
    print(f"  {row.state}, {refs}{size}, read {format_age(row.fetched_at)}{labels}")
    outcomes = [check.outcome for check in pull.checks]
    counts = [f"{outcomes.count(name)} {name}" for name in ("failure", "pending", "success", "neutral")]
    if row.details_at:
        shown = ", ".join(count for count in counts if not count.startswith("0 ")) or "none"
        print(f"  Checks of {row.details_sha[:10]}: {shown}")
    for check in [check for check in pull.checks if check.outcome == "failure"][:MOST_NAMED]:
        name = f"{check.workflow} / {check.name}" if check.workflow else check.name
        kind = {True: ", required", False: ", not required"}.get(check.required, "")  # type: ignore[arg-type]
        print(f"    {colour('✗', 'red')} {_line(name)}: {_line(check.said or 'failure')}{kind}")
        if failure := pull.failures.get(check.log or 0):
            _print_failure(failure)
    for thread in (pull.threads or ())[:MOST_NAMED]:
        where = f"{thread.path}:{thread.line}" if thread.line else thread.path
        said = _line(next(iter(thread.bodies), ""))
        old = " (the lines changed since)" if thread.outdated else ""
        print(f"    {_line(where)}{old}: {_line(thread.author)}: {said}")
    for sentence in [*(pull.blocks or ["Nothing is known to block the merge."]), *pull.unknown]:
        print(f"  {plain(sentence)}")


def print_tasks(job: Job) -> None:
    """Print the tasks of a job as a table."""
    width = max((len(task["id"]) for task in job.tasks), default=0)
    for task in job.tasks:
        code = "" if task.get("exit_code") is None else f"exit {task['exit_code']}"
        sign = _TASK_SIGNS.get(task["state"], "○")
        took = format_duration(task.get("seconds"))
        print(f"    {sign} {task['id']:<{width}}  {task['state']:<11}  {code:<9} {took}".rstrip())


def print_outcome(job: Job) -> None:
    """Print how a job ended: the verdict with its commit, then the findings."""
    if not job.verdict:
        print(
            f"{job.session}: {state_words(job)}. {plain(job.reason_text)} {plain(job.reason_detail)}".rstrip()
        )
        return
    text, name = _VERDICT[Verdict(job.verdict)]
    which = f":{job.name}" if job.name else ""
    at = f"{job.sha[:10]}, {job.made_word} as {job.fixed_sha[:10]}" if job.fixed_sha else job.sha[:10]
    print(f"Verdict on {job.target}{which} at {at}: {colour(text, name)}")
    for finding in job.findings:
        where = (
            f" ({finding['file']}" + (f":{finding['line']})" if finding.get("line") else ")")
            if finding.get("file")
            else ""
        )
        kind = f"{finding.get('severity', 'note')}{', opinion' if finding.get('opinion') else ''}"
        print(f"  {kind}: {plain(str(finding.get('message', '')) + where)}")
