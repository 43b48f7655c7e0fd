"""Workers: list, one."""

from __future__ import annotations

from django.http import HttpRequest
from ninja import Router

from jobs.api.access import needs
from jobs.api.answers import ERRORS, Name, WorkerAnswer, WorkersAnswer
from jobs.operations import WorkerOverview, read_workers
from jobs.serializers import SCHEMA, WorkerJson, worker_json
from jobs.states import Scope

router = Router(tags=["workers"])
READ = needs(Scope.READ)


def _shown(one: WorkerOverview) -> WorkerJson:
    return worker_json(one.worker, jobs=one.jobs, idle=one.idle, cost=one.cost)


async def worker_answer(name: str) -> WorkerAnswer:
    """Return a worker in its envelope. Raises `NotFound`."""
    return {"schema": SCHEMA, "worker": _shown((await read_workers(name))[0])}


@router.get("", auth=READ, response={200: WorkersAnswer, **ERRORS}, summary="List workers")
async def list_workers(request: HttpRequest) -> WorkersAnswer:
    """Return every worker as last observed."""
    return {"schema": SCHEMA, "workers": [_shown(one) for one in await read_workers()]}


@router.get("/{name}", auth=READ, response={200: WorkerAnswer, **ERRORS}, summary="One worker")
async def get_worker(request: HttpRequest, name: Name) -> WorkerAnswer:
    """Return a worker as last observed."""
    return await worker_answer(name)
