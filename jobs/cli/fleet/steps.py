"""What verbs of `fleet` share: steps on standard error, the worker as an answer, the account of options."""

from __future__ import annotations

import time
from typing import Any

from jobs.cli.output import plain, print_json, say
from jobs.cli.request import Request
from jobs.models import Worker
from jobs.operations import DEFAULT_ZONES, Account, Progress, owner_of, silent
from jobs.serializers import worker_json
from jobs.states import WorkerState


def print_steps(request: Request) -> Progress:
    """Return a function that prints steps with the time since now; one that prints nothing with --json."""
    started = time.monotonic()

    def step(text: str) -> None:
        say(f"  {time.monotonic() - started:6.1f} s  {plain(text)}")

    return silent if request.json else step


def account_of(request: Request) -> Account | None:
    """Return the account that the options name; None without --project."""
    if not request.project:
        return None
    zones = tuple(request.zones.split(",")) if request.zones else DEFAULT_ZONES
    return Account(request.project, zones, owner_of(request.owner or ""))


def print_worker(request: Request, worker: Worker, text: str, **more: Any) -> int:
    """Print the text, or with --json the worker and `more`; return the exit code."""
    if request.json:
        print_json("worker", {**worker_json(worker), **more})
    else:
        print(text)
    return 0


def describe_running(worker: Worker, changed: bool) -> str:
    """Return the sentence for a machine that was to run."""
    zone = worker.facts.get("zone") or worker.config.get("zone")
    where = f" in {zone}" if zone else ""
    if worker.state == WorkerState.BOOTING:
        return f"{worker.name}{where}: {worker.state_detail}"
    text = f"{worker.name} is up{where}; run jobs there with --worker {worker.name}."
    return text if changed else f"{worker.name} was already up{where}; nothing was changed."
