"""The JSON of what Offload keeps, for every interface. Schema: `offload/1`."""

from typing import TYPE_CHECKING, Final

from jobs.lazy import load_on_first_use

if TYPE_CHECKING:
    from jobs.serializers.draft import DraftJson, PreviewJson, draft_json, preview_json
    from jobs.serializers.error import ErrorJson, error_json
    from jobs.serializers.event import EventJson, event_json
    from jobs.serializers.job import (
        JobJson,
        agent_key_text,
        commands_for,
        isolation_text,
        job_json,
        shown_target,
    )
    from jobs.serializers.known import AccountJson, account_json
    from jobs.serializers.notice import NoticeJson, notice_json
    from jobs.serializers.pool import PoolJson, pool_json
    from jobs.serializers.pull import PullJson, pull_json
    from jobs.serializers.reason import GROUPS, attention_text, group_of, headline, is_open, is_out_of_reach
    from jobs.serializers.removal import RemovalJson, removal_json
    from jobs.serializers.times import utc
    from jobs.serializers.token import TokenJson, token_json
    from jobs.serializers.worker import (
        JobCostJson,
        WorkerJson,
        cost_json,
        job_cost_json,
        price_json,
        worker_json,
    )

SCHEMA: Final = "offload/1"
__all__ = [
    "GROUPS",
    "SCHEMA",
    "AccountJson",
    "DraftJson",
    "ErrorJson",
    "EventJson",
    "JobCostJson",
    "JobJson",
    "NoticeJson",
    "PoolJson",
    "PreviewJson",
    "PullJson",
    "RemovalJson",
    "TokenJson",
    "WorkerJson",
    "account_json",
    "agent_key_text",
    "attention_text",
    "commands_for",
    "cost_json",
    "draft_json",
    "error_json",
    "event_json",
    "group_of",
    "headline",
    "is_open",
    "is_out_of_reach",
    "isolation_text",
    "job_cost_json",
    "job_json",
    "notice_json",
    "pool_json",
    "preview_json",
    "price_json",
    "pull_json",
    "removal_json",
    "shown_target",
    "token_json",
    "utc",
    "worker_json",
]

__getattr__ = load_on_first_use(__name__, __file__)
