"""The table of verbs: parser, help, completion and the reserved words of targets all follow from it.

Data only. It needs no Django, so that `offload --help` and completion start fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from jobs.cli.durations import read_seconds
from jobs.cli.fleet_verbs import FLEET
from jobs.cli.options import ANSWERS, FORCE, JSON, NO_INPUT, REPO, Option, Verb
from jobs.states import JobState, Scope

ACTIONS: Mapping[str, str] = {
    "review": "build, test and judge a change, with evidence (the default)",
    "fix": "have an agent repair a change, in rounds, each with evidence",
    "implement": "have an agent implement an issue, from a failing test on",
    "ready": "check that a change can be merged now",
    "open": "a worktree of the change and a shell in it, or an agent",
}

STATES = tuple(state.value for state in JobState)


def _read_limit(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r} is not a number from 1")
    return int(text)


def _read_rounds(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 10:
        raise ValueError(f"{text!r} is not a number of rounds from 1 to 10")
    return int(text)


def _read_lines(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 50_000:
        raise ValueError(f"{text!r} is not a number of lines from 1 to 50000")
    return int(text)


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
        "class": Option(
            "run on any worker of this pool (see `fleet pool`; default: the setting `classes`)",
            "POOL",
            "-c",
            complete="pool",
        ),
        "base": Option(
            "branch or commit to compare with (default: chosen, and the assessment says why)", "BRANCH"
        ),
        "detach": Option("start it and return without attaching", short="-d"),
        "fresh": Option("remove the existing job first and start again on the current head"),
        "wait": Option("wait for the end; the exit code is the outcome"),
        "timeout": Option("how long to wait: 90s, 10m, 1h", "DURATION", read=read_seconds),
        "agent": Option("coding agent to use", "AGENT"),
        "prompt": Option("instructions for the agent", "TEXT"),
        "rounds": Option(
            "of a fix or an implementation: at most so many rounds of agent and tests",
            "NUMBER",
            read=_read_rounds,
        ),
        "secret": Option("name of a secret that the job may use (repeatable)", "NAME", repeat=True),
        "trust": Option("run the code of this repository as your user, without a container"),
        "force": replace(
            FORCE, help="with --fresh: also when the existing job is running or has unsaved work"
        ),
        **ANSWERS,
    },
    details="""A TARGET is 123, #123, the URL of a pull request, owner/repo#123 or a branch. 123:name is a
second job for the same target; branch:NAME is a branch whose name looks like a verb. Several targets are
started one after the other, without attaching; one that fails does not stop the others, and the first failure
decides the exit code.""",
    example="""  {offload} 123 review             start the review of #123, or attach to it again
  {offload} 123 review --wait      for scripts: exit code 20 unless the verdict is pass
  {offload} owner/repo#9 --detach  a pull request of another repository, without attaching
  {offload} 123:debug open         a worktree of #123 with a shell in it
  {offload} 123 open --agent NAME  a worktree of #123 with a coding agent that waits in it
  {offload} 1 2 3 review --wait    three reviews at once, and their verdicts
  {offload} --all-open review      a review of every open pull request""",
    remote="works",
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
        remote="works",
    ),
    "status": Verb(
        "[TARGET [ACTION]]",
        "Show one job in full: its tasks, its verdict, and when its state was last observed.",
        {
            "repo": REPO,
            "why": Option("show what its state, its attention and its agent's state are known from"),
            "json": JSON,
        },
        details="Without a target it lists every job. On GitHub it shows what blocks the merge.",
        remote="works",
    ),
    "attach": Verb(
        _JOB,
        "Attach to the session of a job.",
        {"repo": REPO, "read_only": Option("watch without typing"), "no_input": NO_INPUT},
        details="Detach with Ctrl-b d; the job keeps running.",
        example="  {offload} attach 123 review --read-only",
        remote="works",
    ),
    "shell": Verb(
        _JOB,
        "Open a shell in the worktree of a job, separate from its session.",
        {"repo": REPO, "no_input": NO_INPUT},
        remote="works",
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
        remote="works",
    ),
    "send": Verb(
        "TARGET [TEXT...]",
        "Type text to the agent that `open --agent` started, when it waits for input.",
        {"repo": REPO, "json": JSON},
        details="The text is typed as it is, then Enter; without TEXT it is read from standard input. To a "
        "question\nwith choices the number of one is an answer. Refuses (exit code 5) unless the agent has "
        "reported that it\nwaits.",
        example="  {offload} send 123 'Add a test for the empty list.'",
        remote="works",
    ),
    "approve": Verb(
        "TARGET",
        "Tell the agent that `open --agent` started yes, when it waits for approval.",
        {"repo": REPO, "json": JSON},
        details="`status TARGET open --why` shows what it asks for. Refuses (exit code 5) unless it asks.",
        remote="works",
    ),
    "deny": Verb(
        "TARGET [REASON...]",
        "Tell the agent that `open --agent` started no, when it waits for approval.",
        {"repo": REPO, "json": JSON},
        details="A REASON is typed after that.",
        example="  {offload} deny 123 'Use the fixture that is there.'",
        remote="works",
    ),
    "logs": Verb(
        "TARGET [ACTION] [TASK]",
        "Print the log of one task, or of every task that has started.",
        {"repo": REPO, "follow": Option("keep printing until the task ends", short="-f"), "json": JSON},
        example="  {offload} logs 123 review test --follow",
        remote="works",
    ),
    "wait": Verb(
        _JOBS,
        "Wait until jobs have ended; the exit code is the outcome, the first that is not 0.",
        {"repo": REPO, "timeout": LAUNCH.options["timeout"], "json": JSON},
        details="Exit codes: 0 pass, 20 needs_work or fail, 10 failed, 12 cancelled, 124 timeout (the job "
        "keeps running).",
        example="  {offload} wait 123 review --timeout 10m --json",
        remote="works",
    ),
    "cancel": Verb(
        _JOBS,
        "Stop jobs and return when their processes have ended. Their worktrees and logs stay.",
        {"repo": REPO, "json": JSON},
        remote="works",
    ),
    "rm": Verb(
        _JOBS,
        "Remove the session and the worktree of jobs. Their record and logs stay.",
        {
            "repo": REPO,
            "force": replace(FORCE, help="also when it runs; work that exists nowhere else is bundled first"),
            **ANSWERS,
        },
        details="Refuses (exit code 5) while the job runs or has work that exists nowhere else: commits,"
        " changes, and ignored files that no tool made.",
        example="  {offload} rm 123 review --force --yes",
        remote="works",
    ),
    "diff": Verb(
        _JOB,
        "Print the change under review as git diff does.",
        {"repo": REPO, "stat": Option("print file names and counts only"), "json": JSON},
        remote="works",
    ),
    "outbox": Verb(
        "ls|review|status|push|pull|reply|labels|show|edit|drop|send [WHICH]",
        "Prepare what is to be posted to GitHub, and post it when you say so.",
        {
            "repo": REPO,
            "verdict": Option(
                "review: your verdict (default comment)",
                default="comment",
                choices=("comment", "approve", "request-changes"),
            ),
            "thread": Option("reply: the thread, by its place (src/a.py:12) or its id", "THREAD"),
            "resolve": Option("reply: resolve the thread after the answer"),
            "add": Option("labels: one to give (repeatable)", "LABEL", repeat=True),
            "remove": Option("labels: one to take (repeatable)", "LABEL", repeat=True),
            **ANSWERS,
        },
        details="`review TARGET` makes a draft from an assessment, `status TARGET` one of a commit status "
        "from\na verdict, `push TARGET` one of the commits in its worktree, `pull TARGET` one of a pull\n"
        "request for what implements an issue,\n"
        "`reply TARGET` an answer to a thread, `labels TARGET` a change of labels; the others take a\n"
        "draft's number. `reply` and `edit` read the text from standard input.\n"
        "Nothing is posted without a yes (docs/forges.md).",
        example="  {offload} outbox review 123         a draft of the review of #123\n"
        "  {offload} outbox show 1             as it will appear\n"
        "  {offload} outbox send 1             shows it, asks, and posts it",
        remote="works",
    ),
    "secret": Verb(
        "set|ls|rm [NAME]",
        "Store secrets for jobs in the keyring of the system, or in a file that only you can read.",
        {"json": JSON, "no_input": NO_INPUT},
        details="The value is read from standard input or asked for; never write it on a command line. A job "
        "gets a secret only with --secret NAME, and only those of its tasks that name it.",
        example="  {offload} secret set GITHUB_TOKEN                      asks for the value\n"
        "  gh auth token | {offload} secret set GITHUB_TOKEN",
        remote="local",
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
    "trust": Verb(
        "ls|rm [REPOSITORY]",
        "List the repositories whose code may run as your user, and take that trust back.",
        {"json": JSON},
        details="Trust is given when a job needs it, by a yes to the question or with --trust. REPOSITORY is "
        "owner/repo or the URL. Jobs that run already go on; those that are queued wait for approval.",
        example="  {offload} trust ls\n  {offload} trust rm acme/shop",
        remote="local",
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
            **ANSWERS,
        },
        details="Exit code 4 when a check fails.",
        example="  {offload} doctor --gcp --project my-project --apply",
        remote="local",
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
            **ANSWERS,
        },
        details="With --gcp: ask for all that machines at Google need, check it, and offer repairs.",
        example="  {offload} setup --set repo=https://github.com/owner/repo --set worker=local\n"
        "  {offload} setup --gcp\n"
        "  {offload} setup --gcp --project P --zone europe-west1-b --apply --yes --no-input",
        remote="local",
    ),
    "serve": Verb(
        "",
        "Run the dashboard and the loop that drives jobs.",
        django=True,
        remote="local",
    ),
    "mcp": Verb(
        "",
        "Run an MCP server on standard input and output, for your own coding agent.",
        details="The agent's program starts it; docs/mcp.md has its configuration. It needs the package mcp: "
        "pip install 'offload[mcp]'.",
        example="  gemini mcp add offload {offload} mcp",
        remote="works",
    ),
    "skill": Verb(
        "[DIRECTORY]",
        "Print the skill that tells a coding agent how to use Offload, or write it to DIRECTORY/offload.",
        example="  {offload} skill ~/.gemini/skills",
        remote="local",
    ),
    "completion": Verb(
        "bash|zsh|fish",
        "Print a script that completes verbs, actions, targets and workers in your shell.",
        example='  eval "$({offload} completion bash)"                    in ~/.bashrc (zsh: in ~/.zshrc)\n'
        "  {offload} completion fish | source                     in ~/.config/fish/config.fish",
        remote="local",
    ),
    "help": Verb(
        "[VERB] [FLEET_VERB]",
        "Print the help of Offload or of one verb.",
        remote="local",
    ),
    "version": Verb(
        "",
        "Print the version.",
        {"json": JSON},
        remote="local",
    ),
}

VERBS: Mapping[str, Verb] = {**OFFLOAD, **{f"fleet {name}": verb for name, verb in FLEET.items()}}
