"""The words and options of `manage.py offload`: a parser per verb, so that each takes only what it heeds."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.cli.command import Parser
from jobs.cli.durations import parse_duration
from jobs.errors import UsageError

HELP_WIDTH = 100
FLAG: dict[str, Any] = {"action": "store_true"}


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _lines(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 50_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines from 1 to 50000")
    return int(text)


OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "repo": {"help": "repository: URL, path or owner/repo (default: the current directory's upstream)"},
    "worker": {"help": "worker to run on (default: the configured one)"},
    "detach": {**FLAG, "help": "start it, do not attach"},
    "fresh": {**FLAG, "help": "remove the old job first and start over on the current head"},
    "wait": {**FLAG, "help": "wait for the end; the exit code says how it ended"},
    "timeout": {"type": _seconds, "help": "how long to wait: 90s, 10m, 1h", "metavar": "DURATION"},
    "agent": {"help": "coding agent to use"},
    "prompt": {"help": "what to tell the agent"},
    "secret": {
        "action": "append",
        "metavar": "NAME",
        "help": "name of a secret that the job may use (repeatable)",
    },
    "trust": {**FLAG, "help": "trust this repository's code to run as you, on this machine"},
    "force": {**FLAG, "help": "also when it is running, or has work that is nowhere else (bundled first)"},
    "read_only": {**FLAG, "help": "watch, do not type"},
    "follow": {**FLAG, "help": "go on as the log grows, until the task has ended"},
    "lines": {"type": _lines, "default": 200, "help": "lines of history above the screen (default 200)"},
    "stat": {**FLAG, "help": "files and counts only"},
    "set": {"action": "append", "metavar": "KEY=VALUE", "help": "a setting (repeatable)"},
    "apply": {**FLAG, "help": "mend what can be mended"},
    "gcp": {**FLAG, "help": "Google Cloud: account, project, billing, APIs, roles, keys, place, quota"},
    "project": {"help": "with --gcp: the Google Cloud project"},
    "zone": {"help": "with --gcp: the zone (or several, with commas between)"},
    "machine_type": {"help": "with --gcp: the machine type (default n2-standard-8)"},
    "network": {"help": "with --gcp: an existing network (default: one of our own is made)"},
    "strategy": {
        "help": "with --gcp: how machines are reached: iap (default), internal, external; several, or auto"
    },
    "source": {"help": "with --gcp: the range that may use ssh (needed for external)"},
    "spot": {**FLAG, "help": "with --gcp: look at the quota of spot machines"},
    "key": {"help": "with --gcp: path of the private ssh key"},
    "service_account": {"help": "with --gcp: the machines' service account (default: none)"},
    "image": {"help": "with --gcp: the container's image, by digest"},
    "forget_host_key": {**FLAG, "help": "with a worker: forget its pinned host keys first"},
    "yes": {**FLAG, "help": "answer every question with yes"},
    "no_input": {**FLAG, "help": "never ask and never attach, as without a terminal"},
    "json": {**FLAG, "help": "data instead of text"},
}
GCP = ("gcp", "project", "zone", "machine_type", "network", "strategy", "key", "service_account")


def add_gcp_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `doctor --gcp`."""
    for option in (*GCP, "spot", "yes", "no_input"):
        parser.add_argument(f"--{option.replace('_', '-')}", **OPTIONS[option])


@dataclass(frozen=True)
class Verb:
    """What a verb takes. `words`: its usage line; `least`, `most`: how many words."""

    words: str
    help: str
    options: Sequence[str] = ()
    least: int = 1
    most: int = 2
    example: str = ""


_JOB = "TARGET [ACTION]"
LAUNCH = Verb(
    _JOB,
    """Start a job on a pull request or a branch, or come back to it.

A TARGET is 123, #123, a pull request's URL, owner/repo#123 or a branch; 123:name is a second job of its own.
An ACTION is review (the default) or open.

verbs (manage.py offload VERB --help says more):
  ls            every job: what needs you, what is at work, what has ended
  status        one job in full, and how its state is known
  attach        join the session of a job          shell   a shell of its own in the job's worktree
  peek          what is on the session's screen    logs    the log of one task, or of all
  wait          until the job has ended            diff    the change under review
  cancel        stop a job                         rm      free its worktree; never destroys unpushed work
  secret        keep tokens and keys for jobs
  doctor        is everything there?               setup   write settings""",
    (
        "repo", "worker", "detach", "fresh", "wait", "timeout", "agent", "prompt", "secret", "trust", "force",
        "yes", "no_input", "json",
    ),
    example="""  manage.py offload 123 review            start the review of #123, or attach to it again
  manage.py offload 123 review --wait     for scripts: until the verdict; exit code 20 unless it is a pass
  manage.py offload owner/repo#9 --detach of another repository, without attaching
  manage.py offload 123:debug open        a worktree of #123 and a shell in it

exit codes: 0 fine, 2 usage, 3 not found, 4 not configured, 5 refused by a safety rule, 10 job failed,
  12 cancelled, 15 worker unreachable, 16 no capacity, 20 verdict needs_work or fail (with --wait),
  124 timeout, 130 interrupted""",
)  # fmt: skip
VERBS: Mapping[str, Verb] = {
    "ls": Verb(
        "",
        "List every job: what needs you first, then what is at work, then what has ended.",
        ("json",),
        least=0,
        most=0,
    ),
    "status": Verb(
        "[TARGET [ACTION]]",
        "Show one job in full: its tasks, its verdict, how its state is known and how old that knowledge "
        "is. Without a target: every job.",
        ("repo", "json"),
        least=0,
    ),
    "attach": Verb(
        _JOB,
        "Join the session of a job. Detach with Ctrl-b d; the job goes on.",
        ("repo", "read_only", "no_input"),
        example="  manage.py offload attach 123 review --read-only",
    ),
    "shell": Verb(
        _JOB,
        "Open a shell of its own in the job's worktree, beside the session.",
        ("repo", "no_input"),
    ),
    "peek": Verb(
        _JOB, "Print what is on the session's screen, without attaching.", ("repo", "lines", "json")
    ),
    "logs": Verb(
        "TARGET [ACTION] [TASK]",
        "Print the log of one task, or of every task that has started.",
        ("repo", "follow", "json"),
        most=3,
        example="  manage.py offload logs 123 review test --follow",
    ),
    "wait": Verb(
        _JOB,
        "Wait until the job has ended; the exit code says how: 0 pass, 20 needs_work or fail, 10 failed, "
        "12 cancelled, 124 timeout (the job goes on).",
        ("repo", "timeout", "json"),
        example="  manage.py offload wait 123 review --timeout 10m --json",
    ),
    "cancel": Verb(
        _JOB,
        "Stop a job; returns when its processes are gone. Worktree and logs stay.",
        ("repo", "json"),
    ),
    "rm": Verb(
        _JOB,
        "Free a job's session and worktree. The record and the logs stay. Refuses (exit code 5) while the "
        "job runs or has work that is nowhere else.",
        ("repo", "force", "yes", "no_input", "json"),
        example="  manage.py offload rm 123 review --force --yes",
    ),
    "diff": Verb(_JOB, "Print the change under review as git diff does.", ("repo", "stat", "json")),
    "secret": Verb(
        "set|ls|rm [NAME]",
        "Keep a secret for jobs: in the system's keyring, or, without one, in a file that only you can "
        "read. The value comes from standard input or is asked for; never write it on a command line. "
        "A job gets it only with --secret NAME, and of its tasks only those that name it.",
        ("json", "no_input"),
        example="  manage.py offload secret set GITHUB_TOKEN          asks for the value\n"
        "  gh auth token | manage.py offload secret set GITHUB_TOKEN",
    ),
    "doctor": Verb(
        "[WORKER]",
        "Print every setting with its source, and check what is needed; with a worker, look at that one in "
        "full. Exit code 4 when something fails.",
        ("apply", "forget_host_key", *GCP, "spot", "yes", "no_input", "json"),
        least=0,
        most=1,
        example="  manage.py offload doctor --gcp --project my-project --apply",
    ),
    "setup": Verb(
        "",
        "Write settings to config.toml; asks for the usual two when none is given. With --gcp: everything "
        "for machines at Google, asked for step by step, checked, and mended where you say so.",
        ("set", *GCP, "source", "image", "apply", "yes", "no_input", "json"),
        least=0,
        most=0,
        example="  manage.py offload setup --set repo=https://github.com/owner/repo --set worker=local\n"
        "  manage.py offload setup --gcp\n"
        "  manage.py offload setup --gcp --project P --zone europe-west1-b --apply --yes --no-input",
    ),
}


class OffloadParser(Parser):
    """Chooses the verb's own parser. The result always has `verb`, `words` and every option."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Return the namespace; a usage error ends the process with exit code 2."""
        given = list(args or [])
        name = _first_word(given)
        verb = VERBS.get(name)
        parser = _parser(self, name if verb else "", verb or LAUNCH)
        if verb is not None:
            given.remove(name)
        options = parser.parse_intermixed_args(given, namespace)
        words = verb or LAUNCH
        if len(options.words) < words.least:
            parser.error(f"name a target: {words.words}")
        if len(options.words) > words.most:
            left = " ".join(options.words[words.most :])
            parser.error(f"there are too many words: {left!r} is left over")
        options.verb = name if verb else "launch"
        for option, settings in OPTIONS.items():
            if not hasattr(options, option):
                off = settings.get("default", False if "action" in settings else None)
                setattr(options, option, None if settings.get("action") == "append" else off)
        return options

    def print_help(self, file: Any = None) -> None:
        """Print the help of the launching form, which names the verbs."""
        _parser(self, "", LAUNCH).print_help(file)


def _first_word(args: Sequence[str]) -> str:
    """Return the first word that is neither an option nor the value of one; empty when there is none."""
    skip = False
    for word in args:
        if skip:
            skip = False
        elif word == "--":
            return ""
        elif word.startswith("--") and "=" not in word:
            option = OPTIONS.get(word[2:].replace("-", "_"))
            takes_value = option is not None and option.get("action") != "store_true"
            skip = takes_value or word in ("--settings", "--pythonpath", "--verbosity")
        elif not word.startswith("-"):
            return word
    return ""


def _parser(parent: OffloadParser, name: str, verb: Verb) -> Parser:
    prog = f"{parent.prog} {name}".strip()
    parser = Parser(
        prog=prog,
        usage=f"{prog} {verb.words} [options]".replace("  ", " "),
        description=verb.help if "\n" in verb.help else textwrap.fill(verb.help, HELP_WIDTH),
        epilog=f"examples:\n{verb.example}" if verb.example else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_hidden_options()
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    for option in verb.options:
        parser.add_argument(f"--{option.replace('_', '-')}", **OPTIONS[option])
    return parser
