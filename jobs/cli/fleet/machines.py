"""The siblings of `manage.py fleet provision`: what is done with machines that are made on request."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from jobs import execution
from jobs.cli.fleet import simulation
from jobs.cli.fleet.interrupt import told
from jobs.cli.output import plain, print_json, say
from jobs.cli.request import actor, ask
from jobs.errors import NotFound, OffloadError, Refused
from jobs.models import Worker
from jobs.providers.base import Price
from jobs.workers import fleet, idle
from jobs.workers.costs import cost_of
from jobs.workers.machines import cloud_of, require_size

STOPPED = "Its machine was stopped on request."
DELETED = "The machine it waited for was deleted on request."


class Steps:
    """Steps with the time since the start, on stderr; quiet with --json."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.quiet = bool(options["json"])
        self.started = time.monotonic()

    def __call__(self, text: str) -> None:
        """Print one step."""
        if not self.quiet:
            say(f"  {time.monotonic() - self.started:6.1f} s  {plain(text)}")


async def confirm(options: Mapping[str, Any], question: str) -> None:
    """Have a yes. Raises `Refused` without one, and when nobody can be asked."""
    if options["yes"]:
        return
    if options["no_input"] or options["json"] or not sys.stdin.isatty():
        raise Refused("This needs a yes, and there is nobody to ask.", hint="Say it with --yes.")
    if (await ask(f"{question} [y/N] ")).lower() not in ("y", "yes"):
        raise Refused("Nothing was done.")


async def _worker(options: Mapping[str, Any]) -> Worker:
    worker = await Worker.objects.filter(name=options["name"]).afirst()
    if worker is None:
        raise NotFound(f"There is no worker called {options['name']!r}.", hint="See `manage.py fleet ls`.")
    await have_simulator(worker)
    cloud_of(worker, options["verb"].capitalize())
    return worker


async def have_simulator(worker: Worker) -> None:
    """Have the simulator running when the worker's machine is one of its."""
    if worker.config.get("simulated"):
        await asyncio.to_thread(simulation.start)


def money_text(price: Price) -> str:
    """Return a price as a sentence's part."""
    _, mark, doubts = price.source.partition("; ")  # what of it was compared with no source
    return (
        f"about {price.running:.2f} {price.currency} an hour while it runs, {price.month:.0f} a month "
        f"without a pause, {price.stopped * 730:.0f} a month while stopped (estimate, prices of "
        f"{price.as_of}{mark}{doubts})"
    )


def price_json(price: Price | None) -> dict[str, Any] | None:
    """Return a price as `--json` shows it."""
    if price is None:
        return None
    return {
        "currency": price.currency, "hour": price.running, "month": price.month,
        "stopped_month": price.stopped * 730, "as_of": price.as_of, "source": price.source, "estimate": True,
    }  # fmt: skip


def as_json(worker: Worker) -> dict[str, Any]:
    """Return a worker's machine as `--json` shows it."""
    keys = ("project", "zone", "spot", "placement", "disk_zone")
    shown = {key: worker.config.get(key) for key in keys}
    return {
        "name": worker.name, "provider": worker.provider, "state": worker.state, "desired": worker.desired,
        "state_detail": worker.state_detail or None, **shown,
        "machine_type": (worker.config.get("spec") or {}).get("machine_type"),
    }  # fmt: skip


def done(options: Mapping[str, Any], worker: Worker, text: str, **more: Any) -> int:
    """Say what became of the worker, as text or with `more` as data; return the exit code."""
    if options["json"]:
        print_json("worker", {**as_json(worker), **more})
    else:
        print(text)
    return 0


def up_text(worker: Worker, changed: bool) -> str:
    """Return the sentence for a machine that was to be up."""
    where = f" in {worker.config['zone']}" if worker.config.get("zone") else ""
    if worker.state == "booting":
        return f"{worker.name}{where}: {worker.state_detail}"
    text = f"{worker.name} is up{where}; jobs go there with --worker {worker.name}."
    return text if changed else f"{worker.name} was up already{where}; nothing was done."


async def start(options: Mapping[str, Any]) -> int:
    """Start a stopped machine."""
    worker = await _worker(options)
    await execution.note_asked(worker, "start", actor())
    back = f"`manage.py fleet stop {worker.name}` stops it"
    async with told(f"starting {worker.name}", worker.name, f"start {worker.name}", back):
        worker, changed = await fleet.start(worker, Steps(options))
    return done(options, worker, up_text(worker, changed), changed=changed)


async def stop(options: Mapping[str, Any]) -> int:
    """Stop a machine; its disks stay. Refuses while jobs are at work there."""
    worker = await _worker(options)
    if not options["force"]:
        await execution.require_idle(worker)
    await execution.note_asked(worker, "stop", actor())
    # Before the machine goes: a job that waits would be launched, and start it again.
    await execution.brake(worker.id, STOPPED)
    async with told(f"stopping {worker.name}", worker.name, f"stop {worker.name}"):
        changed = await fleet.stop(worker, Steps(options))
        await execution.settle(worker.id, STOPPED)
    worker = await Worker.objects.aget(id=worker.id)
    text = f"{worker.name} is stopped." if changed else f"{worker.name} was not running; nothing was done."
    return done(options, worker, text, changed=changed)


async def _change(
    options: Mapping[str, Any],
    question: str,
    detail: str,
    change: Callable[[Worker], Awaitable[Worker]],
    again: str,
) -> Worker:
    """Have a machine changed that is down meanwhile: its jobs are interrupted, and go on with `auto_resume`.

    `again`: the words after `fleet` that go on. Raises `Refused` while jobs are at work, unless forced, and
    `Interrupted`.
    """
    worker = await _worker(options)
    if not worker.config.get("rebuild"):  # else it was agreed to, and died on its way
        if not options["force"]:
            await execution.require_idle(worker)
        elif busy := await execution.busy_jobs(worker):
            question = f"{question} This interrupts {', '.join(busy)}."
        await confirm(options, question)
    await execution.pause(worker.id, detail)
    back = f"`manage.py fleet start {worker.name}` starts it as it is then"
    try:
        async with told(f"changing {worker.name}", worker.name, again, back):
            worker = await change(worker)
    except OffloadError:
        if await Worker.objects.filter(id=worker.id, state="ready").aexists():
            await execution.go_on(worker.id)  # it is as it was
        raise
    await execution.go_on(worker.id)
    return worker


async def rebuild(options: Mapping[str, Any]) -> int:
    """Make the machine anew on its data disk. Refuses while jobs are at work there."""
    worker = await _change(
        options,
        f"Delete the machine {options['name']} and make it anew (its data disk is kept)?",
        "Its machine is made anew.",
        lambda worker: fleet.rebuild(worker, Steps(options)),
        f"rebuild {options['name']}",
    )
    return done(options, worker, f"{worker.name} was made anew; its data is as it was.")


async def resize(options: Mapping[str, Any]) -> int:
    """Give the machine another type; it is stopped for that. Refuses while jobs are at work there."""
    require_size(options["size"])
    worker = await _change(
        options,
        f"Stop {options['name']} and make it a {options['size']}?",
        "Its machine gets another size.",
        lambda worker: fleet.resize(worker, options["size"], Steps(options)),
        f"resize {options['name']} {options['size']}",
    )
    return done(options, worker, f"{worker.name} is a {options['size']} now.")


async def delete(options: Mapping[str, Any]) -> int:
    """Delete the machine; refuses while work exists nowhere else. The data disk stays unless told."""
    worker, with_disk = await _worker(options), options["with_disk"]
    going = [one for one in await fleet.belongings(worker) if with_disk or one.kind != "disk"]
    if not options["force"] and going:
        lost = await execution.unsaved(worker)
        if lost:
            raise Refused(
                f"{worker.name} has work that is nowhere else:\n  " + "\n  ".join(lost),
                hint="Push it, or remove the jobs (`offload rm --force` rescues it first); --force insists.",
            )
    if not options["json"]:
        say("This goes: " + (", ".join(str(one) for one in going) or "nothing; it is gone already") + ".")
    if going:
        await confirm(options, f"Delete {worker.name}{' and all data on it' if with_disk else ''}?")
    waiting = await execution.forsake(worker.id, DELETED)
    again = f"delete {worker.name}{' --with-disk' if with_disk else ''}"
    async with told(f"deleting {worker.name}", worker.name, again):
        kept = await fleet.delete(worker, Steps(options), with_disk=with_disk)
    waiting += await execution.forsake(worker.id, DELETED)  # asked for in between
    if with_disk:
        await execution.mark_lost(worker, actor())
    else:
        await execution.interrupt_jobs(worker.id, "Its machine was deleted.")
    worker = await Worker.objects.aget(id=worker.id)
    text = f"{worker.name} is deleted."
    if waiting:
        text += f" What waited for it does not run: {', '.join(waiting)}."
    if kept:
        text += (
            f" Kept, and still costing: {', '.join(str(one) for one in kept)}; --with-disk deletes it too."
        )
    await asyncio.to_thread(simulation.stop_if_unused)
    return done(options, worker, text, kept=[str(one) for one in kept], ended=waiting)


async def preempt(options: Mapping[str, Any]) -> int:
    """Have a simulated machine taken away."""
    worker = await _worker(options)
    await asyncio.to_thread(simulation.preempt, worker)
    return done(options, worker, f"{worker.name} was taken away, without a word to Offload.")


async def price(options: Mapping[str, Any]) -> int:
    """Say what a worker costs, and has cost so far; always an estimate."""
    worker = await _worker(options)
    cost = await cost_of(worker)
    if cost is None:
        raise NotFound(f"The price of {worker.name} is not in the table.", hint="See your cloud's console.")
    text = (
        f"{worker.name}: {money_text(cost.price)}.\n"
        f"It has run for {cost.hours:.1f} h: about {cost.so_far:.2f} {cost.price.currency}, disks included; "
        f"{cost.month:.2f} this month.\n"
        f"Source: {cost.price.source}"
    )
    return done(options, worker, text, price=price_json(cost.price), hours=cost.hours, so_far=cost.so_far,
                 this_month=cost.month)  # fmt: skip


async def logs(options: Mapping[str, Any]) -> int:
    """Print the machine's serial console."""
    worker = await _worker(options)
    text = await cloud_of(worker, "Reading").console(worker.name)
    if options["json"]:
        print_json("console", {"name": worker.name, "text": text})
    else:
        print("\n".join(plain(line) for line in text.splitlines()))
    return 0


async def keep(options: Mapping[str, Any]) -> int:
    """Keep the machine up for some hours."""
    worker = await _worker(options)
    hours, until = options["hours"], idle.until_of(options["hours"])
    worker = await idle.keep(worker, until, actor())
    text = (
        f"{worker.name} stays up until {idle.in_utc([until])}." if hours else f"{worker.name} is not kept up."
    )
    if said := idle.idle_of(worker):
        text += f" {said.text}"
    return done(options, worker, text, until=until.isoformat())
