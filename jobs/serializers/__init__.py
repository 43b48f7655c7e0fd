"""The JSON of jobs, workers, pull requests and drafts, for every interface. Schema: `offload/1`."""

from typing import TYPE_CHECKING

from jobs.lazy import load_on_first_use

if TYPE_CHECKING:
    from jobs.serializers.draft import draft_json
    from jobs.serializers.job import JobJson, commands_for, isolation_text, job_json, shown_target
    from jobs.serializers.pull import pull_json
    from jobs.serializers.reason import GROUPS, attention_text, group_of, headline
    from jobs.serializers.times import utc
    from jobs.serializers.worker import (
        WorkerJson,
        cost_json,
        job_cost_json,
        price_json,
        worker_json,
    )

SCHEMA = "offload/1"
__all__ = [
    "GROUPS",
    "SCHEMA",
    "JobJson",
    "WorkerJson",
    "attention_text",
    "commands_for",
    "cost_json",
    "draft_json",
    "group_of",
    "headline",
    "isolation_text",
    "job_cost_json",
    "job_json",
    "price_json",
    "pull_json",
    "shown_target",
    "utc",
    "worker_json",
]

__getattr__ = load_on_first_use(__name__, __file__)
