"""Workers: list, one, and what can be requested of their machines."""

from __future__ import annotations

from django.http import HttpRequest
from ninja import Query, Router, Schema
from ninja.responses import Status
from pydantic import Field

from jobs import execution
from jobs.api.access import caller_of, needs
from jobs.api.answers import Name, WorkerAnswer, WorkersAnswer
from jobs.operations import WorkerOverview, read_workers
from jobs.operations import get_worker as find_row
from jobs.serializers import SCHEMA, WorkerJson, worker_json
from jobs.states import Scope

router = Router(tags=["workers"])
READ = needs(Scope.READ)
ADMIN = needs(Scope.ADMIN)


class KeepBody(Schema):
    """How long a machine stays up, whatever its idle rule says."""

    hours: float = Field(ge=0, le=1000, allow_inf_nan=False, description="From now; 0: no longer.")


class StopQuery(Schema):
    """Whether a safety rule is overruled."""

    force: bool = Field(False, description="Also when jobs run there: they are interrupted.")


def _shown(one: WorkerOverview) -> WorkerJson:
    return worker_json(one.worker, jobs=one.jobs, idle=one.idle, cost=one.cost)


async def worker_answer(name: str) -> WorkerAnswer:
    """Return a worker in its envelope. Raises `NotFound`."""
    return {"schema": SCHEMA, "worker": _shown((await read_workers(name))[0])}


@router.get("", auth=READ, response={200: WorkersAnswer}, summary="List workers")
async def list_workers(request: HttpRequest) -> WorkersAnswer:
    """Return every worker as last observed."""
    return {"schema": SCHEMA, "workers": [_shown(one) for one in await read_workers()]}


@router.get("/{name}", auth=READ, response={200: WorkerAnswer}, summary="One worker")
async def get_worker(request: HttpRequest, name: Name) -> WorkerAnswer:
    """Return a worker as last observed."""
    return await worker_answer(name)


@router.post("/{name}/start", auth=ADMIN, response={202: WorkerAnswer}, summary="Start a machine")
async def start(request: HttpRequest, name: Name) -> Status[WorkerAnswer]:
    """Request that a stopped machine is started; its state shows how far that is."""
    await execution.request_start(await find_row(name), caller_of(request).name)
    return Status(202, await worker_answer(name))


@router.post("/{name}/stop", auth=ADMIN, response={202: WorkerAnswer}, summary="Stop a machine")
async def stop(request: HttpRequest, name: Name, query: Query[StopQuery]) -> Status[WorkerAnswer]:
    """Request that a machine is stopped; its disks stay."""
    await execution.request_stop(await find_row(name), caller_of(request).name, force=query.force)
    return Status(202, await worker_answer(name))


@router.post("/{name}/keep", auth=ADMIN, response={202: WorkerAnswer}, summary="Keep a machine up")
async def keep(request: HttpRequest, name: Name, body: KeepBody) -> Status[WorkerAnswer]:
    """Request that a machine stays up for some hours."""
    await execution.request_keep(await find_row(name), body.hours, caller_of(request).name)
    return Status(202, await worker_answer(name))
