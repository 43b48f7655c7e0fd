"""The table of `offload fleet` verbs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from jobs.cli.options import ANSWERS, ENGINE, FORCE, JSON, YES, Option, Verb


def read_count(text: str) -> int:
    """Return a whole number from 0. Raises `ValueError`."""
    if not text.isdecimal() or len(text) > 6:
        raise ValueError(f"{text!r} is not a number from 0")
    return int(text)


def read_amount(text: str) -> float:
    """Return an amount from 0. Raises `ValueError`."""
    amount = float(text)
    if not 0 <= amount < 1e6:
        raise ValueError(f"{text!r} is not an amount from 0")
    return amount


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
    "pool": Verb(
        "[NAME]",
        "List pools, or make and change one: jobs with --class NAME run on any of its workers.",
        {
            "add": Option("a worker that joins (repeatable)", "WORKER", repeat=True, complete="worker"),
            "leave": Option("a worker that leaves (repeatable)", "WORKER", repeat=True, complete="worker"),
            "like": Option(
                "make machines like this one when jobs wait; shows the price first",
                "WORKER",
                complete="worker",
            ),
            "max": Option("machines that may be made", "NUMBER", read=read_count),
            "min": Option("machines that are up at any time", "NUMBER", read=read_count),
            "warm": Option("machines that are up without a job, for the next one", "NUMBER", read=read_count),
            "jobs_per_worker": Option(
                "jobs at once on one worker (0: as measured there)", "NUMBER", read=read_count
            ),
            "ceiling": Option(
                "what all machines may cost together, USD an hour (0: no limit)", "USD", read=read_amount
            ),
            "remove": Option("remove the pool; its workers stay"),
            **ANSWERS,
        },
        details="Machines of a pool turn themselves off as others do. One that was off for a day and holds\n"
        "no job's files is deleted with its disk, and made again when it is needed.",
        example="  {offload} fleet pool big --like big-box --max 4 --warm 1    four machines at most\n"
        "  {offload} fleet pool lab --add desk --add tower             two existing machines\n"
        "  {offload} 123 review --class big",
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
            **ANSWERS,
        },
        example="  {offload} fleet provision big --project P --image IMAGE@sha256:...   a machine at Google\n"
        "  {offload} fleet provision tour --simulate                            the same, simulated",
    ),
    "start": Verb("WORKER", "Start a stopped machine.", ANSWERS),
    "stop": Verb("WORKER", "Stop a machine; its disks stay.", {"force": FORCE, **ANSWERS}),
    "keep": Verb(
        "WORKER",
        "Keep a machine running although it is idle.",
        {
            "hours": Option("for how long (default 2; 0: no longer)", "HOURS", read=float, default=2.0),
            **ANSWERS,
        },
    ),
    "rebuild": Verb(
        "WORKER", "Delete a machine and create it again on its data disk.", {"force": FORCE, **ANSWERS}
    ),
    "resize": Verb(
        "WORKER TYPE",
        "Stop a machine and start it with another machine type.",
        {"force": FORCE, **ANSWERS},
        example="  {offload} fleet resize big n2-standard-16",
    ),
    "delete": Verb(
        "WORKER",
        "Delete a machine; its data disk stays unless --with-disk is given.",
        {"with_disk": Option("delete the data disk too, with all data on it"), "force": FORCE, **ANSWERS},
    ),
    "preempt": Verb("WORKER", "Take a simulated machine away, as Google does with spot machines.", ANSWERS),
    "price": Verb(
        "[WORKER]",
        "Show what a worker has cost, or what machine types cost (estimates).",
        {
            "machine_type": Option("types to compare, separated by commas (default: common ones)", "TYPES"),
            "zones": Option("zone or region (default: that of `provision`)", "ZONE"),
            "disk_gb": Option("size of the data disk (default 200)", "GB", read=int, default=200),
            **ANSWERS,
        },
    ),
    "logs": Verb("WORKER", "Print the serial console of a machine.", ANSWERS),
    "sweep": Verb(
        "",
        "Find machines and disks of yours that belong to no worker; --yes removes them.",
        {
            "other_homes": Option("include resources of other Offload homes"),
            "with_disks": Option("remove data disks too, with all data on them"),
            **_ACCOUNT,
            **ANSWERS,
        },
    ),
    "panic": Verb("", "Stop every machine of yours at once. Deletes nothing.", {**_ACCOUNT, **ANSWERS}),
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
            "with_agents": Option("build: add coding agents to Gemini CLI, with commas", "NAMES"),
            "without_agent": Option("build: leave Gemini CLI out"),
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
