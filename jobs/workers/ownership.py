"""Whether what has a worker's name is that worker's, or was made by another Offload home of the same owner.

A worker's machine is known by its name, and two homes of one person may use one name. What another home made
is this worker's only when a user agreed to that: then its home's id is in `facts["adopts"]`.
"""

from __future__ import annotations

from django.conf import settings

from jobs.errors import Refused
from jobs.models import Worker
from jobs.providers.base import Instance, WorkerProvider
from jobs.workers.home import home_id


def is_anothers(worker: Worker, home: str | None) -> bool:
    """Tell whether a home is another one than this, and nothing of it was agreed to be taken over.

    None or an empty id is of a provider, or a time, that tells no homes apart.
    """
    return bool(home) and home not in (home_id(settings.OFFLOAD.home), *worker.facts.get("adopts", ()))


def is_anothers_machine(worker: Worker, instance: Instance) -> bool:
    """Tell whether a machine of the worker's name is not the worker's."""
    return is_anothers(worker, str(instance.data.get("home_id") or ""))


async def machine_of(worker: Worker, provider: WorkerProvider) -> Instance | None:
    """Return the worker's machine. None: there is none of its name, or it is another home's."""
    instance = await provider.get(worker.name)
    return None if instance is None or is_anothers_machine(worker, instance) else instance


def require_own(worker: Worker, instance: Instance | None) -> None:
    """Raise `Refused` when a machine of the worker's name is another home's."""
    if instance is not None and is_anothers_machine(worker, instance):
        raise Refused(
            f"The machine {worker.name} is one that another Offload home of yours made "
            f"({instance.data['home_id']}); it is {instance.state.value}.",
            hint="Choose another name; or, if that home is gone, take it over: `manage.py fleet provision "
            f"{worker.name} --take-over`.",
        )
