"""Create a worker's machine, or continue a creation that was not finished."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.errors import Refused
from jobs.formats import format_money
from jobs.models import Worker
from jobs.operations import simulated_container, simulation
from jobs.operations.confirmation import ConfirmationPlan
from jobs.operations.interruption import explain_interruption
from jobs.operations.progress import Progress
from jobs.operations.provision_settings import ProvisionRequest, config_of, replaces_plan
from jobs.providers.base import Price
from jobs.providers.gce.compute.adoption import Adopted
from jobs.providers.gce.onboarding.preflight import preflight
from jobs.states import WorkerState
from jobs.workers import cloud_init, provision
from jobs.workers.connection import provider_config
from jobs.workers.costs import price_of
from jobs.workers.records import set_row

CLOUD_KIND = "gce-cos"
# Rows that may have no machine yet: the account is checked for them as for a new worker.
_WITHOUT_MACHINE = (WorkerState.ABSENT, WorkerState.CREATING)


@dataclass(frozen=True)
class ProvisionPlan:
    """What `provision_worker` will do.

    `worker`: as it is to be; not saved when `is_new`. `price`: None when unknown. `adopted`: existing
    resources that are taken over. `warnings`: sentences that are shown in any case. `confirmation`: None when
    it was given before, or when nothing costs. `is_checked`: whether the account was examined for this plan.
    """

    worker: Worker
    is_new: bool
    price: Price | None = None
    adopted: tuple[Adopted, ...] = ()
    warnings: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    confirmation: ConfirmationPlan | None = None
    is_checked: bool = False


@dataclass(frozen=True)
class Provisioned:
    """A worker after a change, and whether anything had to be done."""

    worker: Worker
    changed: bool


async def plan_provision(request: ProvisionRequest, progress: Progress) -> ProvisionPlan:
    """Return what creating (or continuing) the worker means. Changes nothing.

    Raises `UsageError`, `NotConfigured` (what is missing, checked before anything costs), `Refused` (a
    machine that runs for another home, without `take_over`), or the error of the provider.
    """
    worker = await Worker.objects.filter(name=request.name).afirst()
    if worker is not None and not replaces_plan(worker, request):
        return await _plan_continuation(worker, request, progress)
    if request.simulate:
        config = await _simulated_config(request)
        root = simulation.root(request.name)
    else:
        config, root = config_of(request), cloud_init.MOUNT
    facts: dict[str, Any] = {}
    if worker is not None:
        kept = ("disk_zone", "adopts", "tried")
        facts = {key: worker.facts[key] for key in kept if worker.facts.get(key)}
    planned = Worker(name=request.name, provider=CLOUD_KIND, root=root, config=config, facts=facts)
    if request.simulate:
        await asyncio.to_thread(simulation.start)  # its provider answers for the price
        price = await price_of(planned)
        effects = (*_describe(planned, price), *_describe_simulation(planned))
        return ProvisionPlan(planned, True, price, effects=effects)
    checked = await _check_account(planned, request, progress)
    planned.config, planned.facts = checked.config, checked.facts
    price = await price_of(planned)
    return ProvisionPlan(
        planned,
        True,
        price,
        checked.adopted,
        checked.warnings,
        confirmation=ConfirmationPlan(
            _question("Create", planned, checked.adopted),
            _describe(planned, price)[:1],
            _cost_sentence(price),
        ),
        is_checked=True,
    )


async def _plan_continuation(worker: Worker, request: ProvisionRequest, progress: Progress) -> ProvisionPlan:
    """Return the plan for a worker that was confirmed before; without a machine, check its account again."""
    await simulation.start_for(worker)
    may_have_machine = worker.state not in _WITHOUT_MACHINE or worker.provider != CLOUD_KIND
    if may_have_machine or worker.config.get("simulated"):
        return ProvisionPlan(worker, False)
    # Days may have passed: an API may be off now, a quota used up, a name taken.
    price = await price_of(worker)
    checked = await _check_account(worker, request, progress)
    worker.facts = checked.facts
    question = (
        ConfirmationPlan(_question("Continue with", worker, checked.adopted)) if checked.adopted else None
    )
    return ProvisionPlan(
        worker, False, price, checked.adopted, checked.warnings, _describe(worker, price), question, True
    )


async def provision_worker(plan: ProvisionPlan, progress: Progress) -> Provisioned:
    """Carry the plan out: the machine runs and answers afterwards. The same call continues after a crash.

    Raises `NoCapacity`, `TimedOut`, or the error of the provider; `Interrupted` after Ctrl-C.
    """
    worker = plan.worker
    name = worker.name
    if worker.config.get("simulated"):
        await asyncio.to_thread(simulation.start)
    if not plan.is_new and plan.adopted:
        await set_row(worker, adopts=worker.facts["adopts"])
    undo = f"what was requested may come up and cost: `offload fleet delete {name}` removes it"
    config: Mapping[str, Any] = worker.config if plan.is_new else {}
    facts = worker.facts if plan.is_new else {}
    async with explain_interruption(f"creating {name}", name, f"provision {name}", undo):
        return Provisioned(
            *await provision.provision(name, worker.provider, worker.root, config, progress, facts)
        )


async def _simulated_config(request: ProvisionRequest) -> dict[str, Any]:
    config = config_of(request) | simulation.config(request.name)
    if request.image:
        config["container"], metadata = await simulated_container.planned(request.name, request.image)
        config["spec"]["metadata"] = metadata
    return config


@dataclass(frozen=True)
class _Checked:
    config: dict[str, Any]
    facts: dict[str, Any]
    adopted: tuple[Adopted, ...]
    warnings: tuple[str, ...]


async def _check_account(plan: Worker, request: ProvisionRequest, progress: Progress) -> _Checked:
    """Return the settings as far as the account allows them, and what is taken over.

    An existing data disk leaves one zone to check. Raises `Refused` for a machine that runs for another home.
    """
    config, disk_zone = provider_config(plan), plan.facts.get("disk_zone")
    zones = [disk_zone] if disk_zone else config["zones"]
    found = await preflight(plan.name, {**config, "zones": zones}, progress)
    changes: dict[str, Any] = {} if disk_zone else {"zones": found.zones}
    facts: dict[str, Any] = dict(plan.facts)
    warnings = []
    for one in found.adopted:
        if one.in_use and not request.take_over:
            raise Refused(
                f"{one.origin}, and it is running: jobs may be at work there.",
                hint="Choose another name; or, if that home no longer exists, pass --take-over.",
            )
        warnings.append(f"Warning: {one.origin}; it is taken over, with all that is on it.")
    for one in found.outside:
        warnings.append(
            f"Warning: {one.origin}, in none of the given zones. It stays as it is, and {plan.name} gets "
            f"an empty one; with `--zones {one.zone}` it is taken over."
        )
    if found.adopted:
        facts["adopts"] = sorted({*plan.facts.get("adopts", ()), *(one.home for one in found.adopted)})
    return _Checked({**plan.config, **changes}, facts, tuple(found.adopted), tuple(warnings))


def _describe(plan: Worker, price: Price | None) -> tuple[str, ...]:
    config, spec = plan.config, plan.config["spec"]
    kind = f"{spec['machine_type']}{', spot' if spec['spot'] else ''}"
    where = f"{plan.facts.get('disk_zone') or ' or '.join(config['zones'])} of {config['project']}"
    machine = f"{plan.name}: {kind}, data disk of {spec['data_disk_gb']} GB, in {where}."
    return machine, _cost_sentence(price)


def _describe_simulation(plan: Worker) -> tuple[str, ...]:
    said = "This one costs nothing: it is simulated on this machine."
    box = plan.config.get("container")
    if not box:
        return (said,)
    return said, f"Jobs run in the container {box['name']} of this machine, made from {box['image']}."


def _cost_sentence(price: Price | None) -> str:
    return f"It costs {describe_price(price)}." if price else "What it costs is not known."


def describe_price(price: Price) -> str:
    """Return a price as a part of a sentence."""
    _, mark, doubts = price.source.partition("; ")  # parts that were compared with no source
    return (
        f"about {format_money(price.running, price.currency)} an hour while it runs, "
        f"{_month(price.month)} a month without a pause, {_month(price.stopped * 730)} a month while stopped "
        f"(estimate, prices of {price.as_of}{mark}{doubts})"
    )


def _month(amount: float) -> str:
    return "less than 1" if 0 < amount < 1 else f"{amount:.0f}"


def _question(verb: str, plan: Worker, adopted: Sequence[Adopted]) -> str:
    taken = f", and take over the {' and the '.join(map(str, adopted))}" if adopted else ""
    return f"{verb} {plan.name}{taken}?"
