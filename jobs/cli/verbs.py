"""The table of verbs: parser, help, completion and the reserved words of targets all follow from it.

Data only. It needs no Django, so that `offload --help` and completion start fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jobs.cli.durations import read_seconds
from jobs.states import JobState, Scope

ACTIONS: Mapping[str, str] = {
    "review": "build, test and judge a change, with evidence (the default)",
    "ready": "check that a change can be merged now",
    "open": "a worktree of the change and a shell in it",
}

STATES = tuple(state.value for state in JobState)


def _read_limit(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r} is not a number from 1")
    return int(text)


def _read_lines(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 50_000:
        raise ValueError(f"{text!r} is not a number of lines from 1 to 50000")
    return int(text)


@dataclass(frozen=True)
class Option:
    """One option. `takes`: the name of its value in the help; empty for a flag.

    `complete`: what completion offers as its value (`worker`, `repository`), besides `choices`.
    """

    help: str
    takes: str = ""
    short: str = ""
    read: Callable[[str], Any] = str
    default: Any = None
    repeat: bool = False
    choices: tuple[str, ...] = ()
    negatable: bool = False
    complete: str = ""

    @property
    def is_flag(self) -> bool:
        """Whether it takes no value."""
        return not self.takes and not self.choices

    @property
    def initial(self) -> Any:
        """Return its value when it is not given."""
        return False if self.is_flag and not self.negatable and self.default is None else self.default


JSON = Option("print JSON instead of text")
YES = Option("answer every question with yes", short="-y")
NO_INPUT = Option("never ask and never attach, as without a terminal")
FORCE = Option("also when jobs are running there, or work exists nowhere else")
REPO = Option(
    "repository: URL, path or owner/repo (default: upstream of the current directory)",
    "REPO",
    "-R",
    complete="repository",
)
ENGINE = Option("docker, 'sudo -n docker' or podman (default: the first that answers)", "COMMAND")

_ANSWERS = {"yes": YES, "no_input": NO_INPUT, "json": JSON}
_GOOGLE = {
    "gcp": Option("check Google Cloud: account, project, billing, APIs, roles, keys, zone, quota"),
    "project": Option("with --gcp: the Google Cloud project", "PROJECT"),
    "zone": Option("with --gcp: the zone, or several separated by commas", "ZONES"),
    "machine_type": Option("with --gcp: the machine type (default n2-standard-8)", "TYPE"),
    "network": Option("with --gcp: an existing network (default: Offload creates its own)", "NETWORK"),
    "strategy": Option(
        "with --gcp: how machines are reached: iap (default), internal, external; several, or auto",
        "STRATEGY",
    ),
    "key": Option("with --gcp: path of the private ssh key", "PATH"),
    "service_account": Option("with --gcp: the service account of machines (default: none)", "EMAIL"),
}
GOOGLE_OPTIONS = tuple(_GOOGLE)


@dataclass(frozen=True)
class Verb:
    """A verb. `words`: its positional words as the usage line shows them, for example `TARGET [ACTION]`.

    The module `jobs.cli.offload.<verb>` (or `jobs.cli.fleet.<verb>`) has its function `run`.
    `django`: the verb is a Django command of another package, which parses its own options.
    """

    words: str
    help: str
    options: Mapping[str, Option] = field(default_factory=dict)
    details: str = ""
    example: str = ""
    django: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Return the name of each word."""
        return tuple(self.words.translate(str.maketrans("", "", "[].")).split())

    @property
    def repeats(self) -> bool:
        """Return whether it takes any number of words."""
        return "..." in self.words

    @property
    def least(self) -> int:
        """Return how many words it needs."""
        return len(self.words.partition("[")[0].split())


_JOB = "TARGET [ACTION]"
_JOBS = "TARGET... [ACTION]"
LAUNCH = Verb(
    _JOBS,
    "Start a job on a pull request or a branch, or re-attach to it; or start several at once.",
    {
        "repo": REPO,
        "all_open": Option("instead of TARGET: every open pull request of the repository, after a question"),
        "limit": Option(
            "with --all-open: at most so many, the last changed first", "NUMBER", "-L", read=_read_limit
        ),
        "worker": Option("worker to run on (default: the configured one)", "WORKER", "-w", complete="worker"),
        "base": Option(
            "branch or commit to compare with (default: chosen, and the assessment says why)", "BRANCH"
        ),
        "detach": Option("start it and return without attaching", short="-d"),
        "fresh": Option("remove the existing job first and start again on the current head"),
        "wait": Option("wait for the end; the exit code is the outcome"),
        "timeout": Option("how long to wait: 90s, 10m, 1h", "DURATION", read=read_seconds),
        "agent": Option("coding agent to use", "AGENT"),
        "prompt": Option("instructions for the agent", "TEXT"),
        "secret": Option("name of a secret that the job may use (repeatable)", "NAME", repeat=True),
        "trust": Option("run the code of this repository as your user, without a container"),
        "force": replace(
            FORCE, help="with --fresh: also when the existing job is running or has unsaved work"
        ),
        **_ANSWERS,
    },
    details="""A TARGET is 123, #123, the URL of a pull request, owner/repo#123 or a branch. 123:name is a
second job for the same target; branch:NAME is a branch whose name looks like a verb. Several targets are
started one after the other, without attaching; one that fails does not stop the others, and the first failure
decides the exit code.""",
    example="""  {offload} 123 review             start the review of #123, or attach to it again
  {offload} 123 review --wait      for scripts: exit code 20 unless the verdict is pass
  {offload} owner/repo#9 --detach  a pull request of another repository, without attaching
  {offload} 123:debug open         a worktree of #123 with a shell in it
  {offload} 1 2 3 review --wait    three reviews at once, and their verdicts
  {offload} --all-open review      a review of every open pull request""",
)
EXIT_CODES = """exit codes: 0 success, 1 unexpected error, 2 usage, 3 not found, 4 not configured,
  5 refused by a safety rule, 10 job failed, 12 cancelled, 15 worker unreachable, 16 no capacity,
  20 verdict needs_work or fail (with --wait), 124 timeout, 130 interrupted"""

OFFLOAD: Mapping[str, Verb] = {
    "ls": Verb(
        "",
        "List jobs with the reason of each: what needs you first, then what is ready, runs, waits, is done.",
        {
            "repo": replace(REPO, help="only jobs of this repository: owner/repo or URL"),
            "state": Option(
                "only jobs in this state (repeatable)", "STATE", "-s", repeat=True, choices=STATES
            ),
            "open": Option("list the open pull requests of the repository instead of jobs"),
            "watch": Option("show the list until Ctrl-C, as it changes"),
            "web": Option("open the list in the dashboard"),
            "limit": Option("at most so many, newest first", "NUMBER", "-L", read=_read_limit, default=0),
            "quiet": Option("print session names only", short="-q"),
            "json": JSON,
        },
        example="""  {offload} ls --watch
  {offload} ls -R owner/repo -s running -s queued
  {offload} ls --json | jq '.jobs[] | select(.verdict == "fail") | .number'
  {offload} rm $({offload} ls -q -s cancelled)""",
    ),
    "status": Verb(
        "[TARGET [ACTION]]",
        "Show one job in full: its tasks, its verdict, and when its state was last observed.",
        {"repo": REPO, "json": JSON},
        details="Without a target it lists every job. On GitHub it shows what blocks the merge.",
    ),
    "attach": Verb(
        _JOB,
        "Attach to the session of a job.",
        {"repo": REPO, "read_only": Option("watch without typing"), "no_input": NO_INPUT},
        details="Detach with Ctrl-b d; the job keeps running.",
        example="  {offload} attach 123 review --read-only",
    ),
    "shell": Verb(
        _JOB,
        "Open a shell in the worktree of a job, separate from its session.",
        {"repo": REPO, "no_input": NO_INPUT},
    ),
    "peek": Verb(
        _JOB,
        "Print the screen of the session without attaching.",
        {
            "repo": REPO,
            "lines": Option(
                "lines of history above the screen (default 200)", "LINES", read=_read_lines, default=200
            ),
            "json": JSON,
        },
    ),
    "logs": Verb(
        "TARGET [ACTION] [TASK]",
        "Print the log of one task, or of every task that has started.",
        {"repo": REPO, "follow": Option("keep printing until the task ends", short="-f"), "json": JSON},
        example="  {offload} logs 123 review test --follow",
    ),
    "wait": Verb(
        _JOBS,
        "Wait until jobs have ended; the exit code is the outcome, the first that is not 0.",
        {"repo": REPO, "timeout": LAUNCH.options["timeout"], "json": JSON},
        details="Exit codes: 0 pass, 20 needs_work or fail, 10 failed, 12 cancelled, 124 timeout (the job "
        "keeps running).",
        example="  {offload} wait 123 review --timeout 10m --json",
    ),
    "cancel": Verb(
        _JOBS,
        "Stop jobs and return when their processes have ended. Their worktrees and logs stay.",
        {"repo": REPO, "json": JSON},
    ),
    "rm": Verb(
        _JOBS,
        "Remove the session and the worktree of jobs. Their record and logs stay.",
        {
            "repo": REPO,
            "force": replace(FORCE, help="also when it runs; work that exists nowhere else is bundled first"),
            **_ANSWERS,
        },
        details="Refuses (exit code 5) while the job runs or has work that exists nowhere else.",
        example="  {offload} rm 123 review --force --yes",
    ),
    "diff": Verb(
        _JOB,
        "Print the change under review as git diff does.",
        {"repo": REPO, "stat": Option("print file names and counts only"), "json": JSON},
    ),
    "outbox": Verb(
        "ls|review|show|edit|drop|send [WHICH]",
        "Prepare what is to be posted to GitHub, and post it when you say so.",
        {
            "repo": REPO,
            "verdict": Option(
                "review: your verdict (default comment)",
                default="comment",
                choices=("comment", "approve", "request-changes"),
            ),
            **_ANSWERS,
        },
        details="`review TARGET` makes a draft from an assessment; the others take a draft's number. "
        "`edit` reads\nthe new text from standard input. Nothing is posted without a yes (docs/forges.md).",
        example="  {offload} outbox review 123         a draft of the review of #123\n"
        "  {offload} outbox show 1             as it will appear\n"
        "  {offload} outbox send 1             shows it, asks, and posts it",
    ),
    "secret": Verb(
        "set|ls|rm [NAME]",
        "Store secrets for jobs in the keyring of the system, or in a file that only you can read.",
        {"json": JSON, "no_input": NO_INPUT},
        details="The value is read from standard input or asked for; never write it on a command line. A job "
        "gets a secret only with --secret NAME, and only those of its tasks that name it.",
        example="  {offload} secret set GITHUB_TOKEN                      asks for the value\n"
        "  gh auth token | {offload} secret set GITHUB_TOKEN",
    ),
    "token": Verb(
        "add|ls|rm [NAME]",
        "Make, list and revoke tokens of the HTTP API.",
        {
            "scope": Option(
                "add: what it may do (repeatable; default read)",
                repeat=True,
                choices=tuple(scope.value for scope in Scope),
            ),
            "days": Option("add: how long it is valid (default 90)", "NUMBER", read=_read_limit, default=90),
            "json": JSON,
        },
        details="`add` prints the token once; only a hash of it is kept (docs/api.md).",
        example="  {offload} token add ci --scope read --scope launch    a program that starts jobs\n"
        "  {offload} token rm ci                                 refused from now on",
    ),
    "doctor": Verb(
        "[WORKER]",
        "Print every setting with its source, and check what Offload needs; or check one worker in full.",
        {
            "security": Option("only list what protects you and what does not, here and on workers"),
            "agents": Option("check only the coding agents: on every worker, or on one"),
            "apply": Option("repair what can be repaired"),
            "forget_host_key": Option("with a worker: forget its pinned host keys first"),
            **_GOOGLE,
            "spot": Option("with --gcp: check the quota of spot machines"),
            **_ANSWERS,
        },
        details="Exit code 4 when a check fails.",
        example="  {offload} doctor --gcp --project my-project --apply",
    ),
    "setup": Verb(
        "",
        "Write settings to config.toml; without --set, ask for the two most common ones.",
        {
            "set": Option("a setting (repeatable)", "KEY=VALUE", repeat=True),
            **_GOOGLE,
            "source": Option("with --gcp: the address range that may use ssh (needed for external)", "RANGE"),
            "image": Option("with --gcp: the container image, by digest", "IMAGE"),
            "apply": Option("repair what can be repaired"),
            **_ANSWERS,
        },
        details="With --gcp: ask for all that machines at Google need, check it, and offer repairs.",
        example="  {offload} setup --set repo=https://github.com/owner/repo --set worker=local\n"
        "  {offload} setup --gcp\n"
        "  {offload} setup --gcp --project P --zone europe-west1-b --apply --yes --no-input",
    ),
    "serve": Verb("", "Run the dashboard and the loop that drives jobs.", django=True),
    "completion": Verb(
        "bash|zsh|fish",
        "Print a script that completes verbs, actions, targets and workers in your shell.",
        example='  eval "$({offload} completion bash)"                    in ~/.bashrc (zsh: in ~/.zshrc)\n'
        "  {offload} completion fish | source                     in ~/.config/fish/config.fish",
    ),
    "help": Verb("[VERB] [FLEET_VERB]", "Print the help of Offload or of one verb."),
    "version": Verb("", "Print the version.", {"json": JSON}),
}

_ZONES = Option("zones to try, in this order, separated by commas", "ZONES")
_ACCOUNT = {
    "project": Option("the Google Cloud project", "PROJECT"),
    "zones": _ZONES,
    "owner": Option("whose machines these are: a label (default: user-host)", "OWNER"),
}
_ALIAS = Option("the name for `ssh` (default: gcli-worker, then gcli-NAME)", "ALIAS")
FLEET: Mapping[str, Verb] = {
    "ls": Verb("", "List every worker with its observed state, its jobs and its costs.", {"json": JSON}),
    "add": Verb(
        "NAME",
        "Add an existing machine as a worker.",
        {
            "provider": Option("kind of machine", "KIND", default="ssh", choices=("local", "ssh")),
            "host": Option("[user@]host[:port], or a name of your OpenSSH config", "HOST"),
            "jump": Option("[user@]host[:port] to connect through", "HOST"),
            "key": Option("path of the private key (default: ssh agent and OpenSSH config)", "PATH"),
            "program": Option(
                "where tmux, git or python3 is on the machine (repeatable)", "NAME=PATH", repeat=True
            ),
            "container": Option("run jobs in a container there", negatable=True),
            "image": Option("the container image, by digest or name", "IMAGE"),
            "engine": ENGINE,
            "network": Option("the network of the container (default: bridge)", "NETWORK"),
            "isolation": Option("one container for all jobs, or one for each", choices=("worker", "job")),
            "alias": _ALIAS,
            "root": Option("Offload's root on the machine (default: ~/.offload there)", "PATH"),
            "json": JSON,
        },
        example="  {offload} fleet add box --host me@box.example:2222 --key ~/.ssh/box\n"
        "  {offload} fleet add laptop --provider local --container",
    ),
    "rm": Verb("WORKER", "Remove a worker from the list. Its machine is not changed.", {"json": JSON}),
    "provision": Verb(
        "WORKER",
        "Create a machine, or continue an unfinished creation; shows the price first.",
        {
            "machine_type": Option("default: the configured one, else n2-standard-8", "TYPE"),
            "spot": Option("cheaper, and may be taken away; on demand when there is no spot capacity"),
            "disk_gb": Option("size of the data disk (default 200)", "GB", read=int, default=200),
            "image": Option(
                "the container image, by digest; with --simulate, one of the local engine", "IMAGE"
            ),
            "network": Option("an existing network (default: Offload creates its own)", "NETWORK"),
            "strategy": Option(
                "how it is reached: iap (default), internal, external; several, or auto for all", "STRATEGY"
            ),
            "source": Option("the address range that may use ssh (default: Google's proxy only)", "RANGE"),
            "open_to_the_world": Option("allow --source to be the whole internet"),
            "service_account": Option("email of the machine's identity (default: none, no access)", "EMAIL"),
            "snapshot_days": Option(
                "save the data disk daily and keep it so many days", "DAYS", read=int, default=0
            ),
            "user": Option("your OS Login user name", "USER"),
            "key": Option("path of the private key", "PATH"),
            "idle_minutes": Option(
                "turn it off after so many minutes without use (default 30)",
                "MINUTES",
                read=float,
                default=30.0,
            ),
            "max_hours": Option(
                "the provider stops it after so many hours (default 12; 0: never)",
                "HOURS",
                read=float,
                default=12.0,
            ),
            "machine_only": Option("return when the machine runs, without waiting for ssh"),
            "take_over": Option("also a machine that is running for another Offload home"),
            "auto_resume": Option("start it again when it is taken away while jobs run"),
            "simulate": Option("a simulated machine on this one: nothing real, nothing to pay"),
            **_ACCOUNT,
            **_ANSWERS,
        },
        example="  {offload} fleet provision big --project P --image IMAGE@sha256:...   a machine at Google\n"
        "  {offload} fleet provision tour --simulate                            the same, simulated",
    ),
    "start": Verb("WORKER", "Start a stopped machine.", _ANSWERS),
    "stop": Verb("WORKER", "Stop a machine; its disks stay.", {"force": FORCE, **_ANSWERS}),
    "keep": Verb(
        "WORKER",
        "Keep a machine running although it is idle.",
        {
            "hours": Option("for how long (default 2; 0: no longer)", "HOURS", read=float, default=2.0),
            **_ANSWERS,
        },
    ),
    "rebuild": Verb(
        "WORKER", "Delete a machine and create it again on its data disk.", {"force": FORCE, **_ANSWERS}
    ),
    "resize": Verb(
        "WORKER TYPE",
        "Stop a machine and start it with another machine type.",
        {"force": FORCE, **_ANSWERS},
        example="  {offload} fleet resize big n2-standard-16",
    ),
    "delete": Verb(
        "WORKER",
        "Delete a machine; its data disk stays unless --with-disk is given.",
        {"with_disk": Option("delete the data disk too, with all data on it"), "force": FORCE, **_ANSWERS},
    ),
    "preempt": Verb("WORKER", "Take a simulated machine away, as Google does with spot machines.", _ANSWERS),
    "price": Verb(
        "[WORKER]",
        "Show what a worker has cost, or what machine types cost (estimates).",
        {
            "machine_type": Option("types to compare, separated by commas (default: common ones)", "TYPES"),
            "zones": Option("zone or region (default: that of `provision`)", "ZONE"),
            "disk_gb": Option("size of the data disk (default 200)", "GB", read=int, default=200),
            **_ANSWERS,
        },
    ),
    "logs": Verb("WORKER", "Print the serial console of a machine.", _ANSWERS),
    "sweep": Verb(
        "",
        "Find machines and disks of yours that belong to no worker; --yes removes them.",
        {
            "other_homes": Option("include resources of other Offload homes"),
            "with_disks": Option("remove data disks too, with all data on them"),
            **_ACCOUNT,
            **_ANSWERS,
        },
    ),
    "panic": Verb("", "Stop every machine of yours at once. Deletes nothing.", {**_ACCOUNT, **_ANSWERS}),
    "image": Verb(
        "build|check [WORKER]",
        "Build the container image on this machine, or compare it with the workers' images.",
        {
            "image": Option("name of the image here (default: offload-maintainer:1)", "IMAGE"),
            "engine": ENGINE,
            "base": Option("build: a Debian 12 image (default: the pinned one)", "IMAGE"),
            "network": Option(
                "build: network of the engine for the build, for example host", "NETWORK", default=""
            ),
            "without_agent": Option("build: leave the coding agent out"),
            "json": JSON,
        },
    ),
    "ssh-config": Verb(
        "[WORKER]",
        "Write names for `ssh` into a file that your OpenSSH configuration can include.",
        {
            "alias": _ALIAS,
            "yes": replace(YES, help="also add the Include line to ~/.ssh/config"),
            "json": JSON,
        },
        details="--alias names the given worker.",
    ),
}
VERBS: Mapping[str, Verb] = {**OFFLOAD, **{f"fleet {name}": verb for name, verb in FLEET.items()}}
