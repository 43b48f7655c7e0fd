"""The words and options of the verbs of `manage.py fleet` that are about machines made on request."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from jobs.cli.fleet import machines, price, provision, sweep

Verb = Callable[[Mapping[str, Any]], Awaitable[int]]
VERBS: Mapping[str, tuple[Verb, str]] = {
    "provision": (provision.provision_, "make a machine, or go on with one; shows what it costs first"),
    "start": (machines.start, "start a stopped machine"),
    "stop": (machines.stop, "stop a machine; its disks stay"),
    "rebuild": (machines.rebuild, "make the machine anew; its data disk stays"),
    "resize": (machines.resize, "give the machine another type"),
    "delete": (machines.delete, "delete the machine; its data disk stays unless told"),
    "preempt": (machines.preempt, "take a simulated machine away, as Google does with spot machines"),
    "price": (price.price, "what a worker has cost, or what machine types cost (estimates)"),
    "logs": (machines.logs, "the machine's serial console"),
    "keep": (machines.keep, "keep a machine up although it is idle"),
    "sweep": (sweep.sweep_, "find machines and disks of ours that no worker stands for"),
    "panic": (sweep.panic, "stop every machine of ours, at once"),
}
_ALL = ("sweep", "panic")


def add_verbs(verbs: Any, **options: Any) -> None:
    """Declare the verbs on the subparsers of `fleet`."""
    for name, (_, text) in VERBS.items():
        parser = verbs.add_parser(name, help=text, **options)
        if name == "price":
            price.add_arguments(parser)
        elif name not in _ALL:
            parser.add_argument("name", help="the worker's name")
        parser.add_argument("--yes", action="store_true", help="answer every question with yes")
        parser.add_argument("--no-input", action="store_true", help="never ask")
        parser.add_argument("--json", action="store_true", help="data instead of text")
        parser.add_argument("--traceback", action="store_true", help=argparse.SUPPRESS)
        if name in ("provision", *_ALL):
            parser.add_argument("--project", help="the Google Cloud project")
            parser.add_argument("--zones", help="zones to try, in this order, with commas between")
            parser.add_argument("--owner", help="whose machines these are (a label; default: user-host)")
        if name == "provision":
            _provision(parser)
        elif name in ("stop", "rebuild", "resize", "delete"):
            parser.add_argument(
                "--force", action="store_true", help="also when jobs or work stand against it"
            )
        if name == "sweep":
            parser.add_argument("--other-homes", action="store_true", help="also what another home made")
            parser.add_argument("--with-disks", action="store_true", help="data disks too: all data on them")
        if name == "delete":
            parser.add_argument("--with-disk", action="store_true", help="the data disk too: all data on it")
        elif name == "resize":
            parser.add_argument("size", help="the machine type, e.g. n2-standard-16")
        elif name == "keep":
            parser.add_argument("--hours", type=float, default=2.0, help="for how long (0: no longer)")


def _provision(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--machine-type", help="default: the configured one, else n2-standard-8")
    add("--spot", action="store_true", help="cheaper, and may be taken away; on demand when there is none")
    add("--disk-gb", type=int, default=200, help="size of the data disk (default 200)")
    add("--image", help="the container's image, by digest; with --simulate one of this machine's engine")
    add("--network", help="an existing network (default: one of our own is made)")
    add("--strategy", help="how it is reached: iap (default), internal, external; several, or auto: all")
    add("--source", help="the range that may use ssh (default: the identity-aware proxy only)")
    add("--open-to-the-world", action="store_true", help="let --source be the whole internet")
    add("--service-account", help="email of the machine's identity (default: none, so no access to anything)")
    add("--snapshot-days", type=int, default=0, help="save the data disk daily, and keep it so long")
    add("--user", help="your OS Login user name")
    add("--key", help="path of the private key")
    add("--idle-minutes", type=float, default=30, help="turn it off after so long unused (default 30)")
    add(
        "--max-hours",
        type=float,
        default=12,
        help="stopped from outside after so long (default 12; 0: never)",
    )
    add("--machine-only", action="store_true", help="be content when it runs; do not wait for its ssh")
    add("--take-over", action="store_true", help="also a machine that is up for another Offload home")
    add("--auto-resume", action="store_true", help="start it again when it is taken away under its jobs")
    add("--simulate", action="store_true", help="a tour without an account: nothing real, nothing to pay")
