"""THE JSON of a pool, for every interface: schema `offload/1`, every key present, null when unknown."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import TypedDict

from jobs.models import Pool, Worker


class PoolJson(TypedDict):
    """A pool. `provider`: null when it makes no machines. `price` and `ceiling`: USD an hour."""

    name: str
    provider: str | None
    workers: list[str]
    minimum: int
    warm: int
    maximum: int
    jobs_per_worker: int | None
    price: float | None
    ceiling: float | None
    slots: int
    at_work: int
    queued: int


def pool_json(pool: Pool, workers: Sequence[Worker], *, slots: int, at_work: int, queued: int) -> PoolJson:
    """Return a pool as JSON data. `slots`: of all its workers; `at_work`, `queued`: numbers of jobs."""
    return {
        "name": pool.name,
        "provider": pool.provider or None,
        "workers": [worker.name for worker in workers],
        "minimum": pool.minimum,
        "warm": pool.warm,
        "maximum": pool.maximum,
        "jobs_per_worker": pool.jobs_per_worker or None,
        "price": pool.price,
        "ceiling": pool.ceiling,
        "slots": slots,
        "at_work": at_work,
        "queued": queued,
    }
