"""Work in motion: from intent to verdict.

`submit` writes intent; `launch`, `wait`, `cancel`, `remove` and the `Reconciler` act on it. Every function
may be called by several processes at once: a lease on the job keeps two from doing the same work.
"""

from jobs.execution.answers import answer_agent
from jobs.execution.archive import (
    archive,
    diff,
    log_size,
    peek,
    read_assessment,
    read_commits,
    read_log,
    read_recording,
)
from jobs.execution.cancel import cancel, request_cancel
from jobs.execution.follow import refresh, refresh_worker, wait
from jobs.execution.forge_access import open_forge, read_token
from jobs.execution.heads import check_head, read_head
from jobs.execution.interruption import (
    end_waiting_jobs,
    finish_stop,
    interrupt_for_change,
    interrupt_for_stop,
    resume_after_change,
)
from jobs.execution.known import Account, Known, read_account
from jobs.execution.launch import NO_PROGRESS, Progress, launch
from jobs.execution.machines import (
    interrupt_jobs,
    look_at_hosts,
    look_at_machines,
    mark_lost,
    prepare_to_look,
    resumes_by_itself,
    unsaved,
    wake,
)
from jobs.execution.placement import Placement, place, place_request, require_trust
from jobs.execution.pull_requests import (
    checks_of,
    failure_of,
    read_failures,
    refresh_inbox,
    refresh_pull,
    refresh_pulls,
    threads_of,
    what_blocks,
    what_is_unknown,
)
from jobs.execution.remove import Removal, discard, remove
from jobs.execution.repositories import (
    distrust,
    expand_commit,
    find_upstream,
    list_trusted,
    resolve_repository,
    trust,
)
from jobs.execution.requests import (
    busy_jobs,
    removal_of,
    request_again,
    request_keep,
    request_rebuild,
    request_removal,
    request_start,
    request_stop,
    require_idle,
    stop_machine,
)
from jobs.execution.secrets import configured_agents
from jobs.execution.secrets import store as secret_store
from jobs.execution.submit import JobRequest, find_job, find_jobs, resume, submit, target_for

__all__ = [
    "NO_PROGRESS",
    "Account",
    "JobRequest",
    "Known",
    "Placement",
    "Progress",
    "Removal",
    "answer_agent",
    "archive",
    "busy_jobs",
    "cancel",
    "check_head",
    "checks_of",
    "configured_agents",
    "diff",
    "discard",
    "distrust",
    "end_waiting_jobs",
    "expand_commit",
    "failure_of",
    "find_job",
    "find_jobs",
    "find_upstream",
    "finish_stop",
    "interrupt_for_change",
    "interrupt_for_stop",
    "interrupt_jobs",
    "launch",
    "list_trusted",
    "log_size",
    "look_at_hosts",
    "look_at_machines",
    "mark_lost",
    "open_forge",
    "peek",
    "place",
    "place_request",
    "prepare_to_look",
    "read_account",
    "read_assessment",
    "read_commits",
    "read_failures",
    "read_head",
    "read_log",
    "read_recording",
    "read_token",
    "refresh",
    "refresh_inbox",
    "refresh_pull",
    "refresh_pulls",
    "refresh_worker",
    "removal_of",
    "remove",
    "request_again",
    "request_cancel",
    "request_keep",
    "request_rebuild",
    "request_removal",
    "request_start",
    "request_stop",
    "require_idle",
    "require_trust",
    "resolve_repository",
    "resume",
    "resume_after_change",
    "resumes_by_itself",
    "secret_store",
    "stop_machine",
    "submit",
    "target_for",
    "threads_of",
    "trust",
    "unsaved",
    "wait",
    "wake",
    "what_blocks",
    "what_is_unknown",
]
