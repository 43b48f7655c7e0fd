"""The vocabulary of states, and which moves between them are legal.

Three things are kept apart: `JobState` (what the machine is doing), `Attention` (why a human is needed)
and `Verdict` (what the evidence says about the commit). `Reason` says why a state was entered and maps to
a sentence. `docs/states.md` is generated from this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum


class JobState(StrEnum):
    """What the machine is doing about a job."""

    QUEUED = "queued"
    PREPARING = "preparing"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class TaskState(StrEnum):
    """What happened to one task of a plan. `interrupted` tasks are run again on resume."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class Attention(StrEnum):
    """Why a human is needed."""

    NONE = ""
    INPUT = "input"
    APPROVAL = "approval"
    LIMIT = "limit"
    ERROR = "error"


class Verdict(StrEnum):
    """What the evidence says; always bound to the job's commit."""

    NONE = ""
    PASS = "pass"
    NEEDS_WORK = "needs_work"
    FAIL = "fail"


class Reason(StrEnum):
    """Why a job entered its state."""

    NONE = ""
    SUBMITTED = "submitted"
    LAUNCHING = "launching"
    WAITING_FOR_SLOT = "waiting_for_slot"
    STARTED = "started"
    RESUMED = "resumed"
    FINISHED = "finished"
    TASK_FAILED = "task_failed"
    PREPARE_FAILED = "prepare_failed"
    CANCELLED_BY_USER = "cancelled_by_user"
    SESSION_LOST = "session_lost"
    RUNNER_LOST = "runner_lost"
    WORKER_LOST = "worker_lost"
    JOB_FILES_LOST = "job_files_lost"
    LAUNCHER_LOST = "launcher_lost"
    WORKER_STOPPED = "worker_stopped"
    WORKER_CHANGED = "worker_changed"


REASON_TEXT: Mapping[Reason, str] = {
    Reason.NONE: "",
    Reason.SUBMITTED: "Waiting to be picked up.",
    Reason.LAUNCHING: "The worker is fetching the commit and laying out the worktree.",
    Reason.WAITING_FOR_SLOT: "Waiting for a free slot on the worker.",
    Reason.STARTED: "The runner is working through the plan.",
    Reason.RESUMED: "The runner went on at the first unfinished task.",
    Reason.FINISHED: "Every task of the plan has ended.",
    Reason.TASK_FAILED: "A task that the plan cannot do without failed.",
    Reason.PREPARE_FAILED: "The job could not be started.",
    Reason.CANCELLED_BY_USER: "Cancelled on request.",
    Reason.SESSION_LOST: "The tmux session ended before the plan did; the same command goes on.",
    Reason.RUNNER_LOST: "The runner died before the plan ended; the same command goes on.",
    Reason.WORKER_LOST: "The worker went away while the job was running.",
    Reason.JOB_FILES_LOST: "The job's files on the worker are gone.",
    Reason.LAUNCHER_LOST: "The process that was preparing the job died.",
    Reason.WORKER_STOPPED: "The worker was stopped on request; the same command starts it and goes on.",
    Reason.WORKER_CHANGED: "The worker's machine is being changed on request; the same command goes on.",
}

ATTENTION_TEXT: Mapping[Attention, str] = {
    Attention.NONE: "",
    Attention.INPUT: "waits for your input",
    Attention.APPROVAL: "waits for your approval",
    Attention.LIMIT: "stopped at a limit",
    Attention.ERROR: "has an error that needs you",
}

JOB_FINAL: frozenset[JobState] = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
JOB_ENDED: frozenset[JobState] = JOB_FINAL | {JobState.INTERRUPTED}
JOB_ACTIVE: frozenset[JobState] = frozenset(JobState) - JOB_ENDED
JOB_RESUMABLE: frozenset[JobState] = JOB_ENDED - {JobState.SUCCEEDED}

JOB_MOVES: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset(
        {
            JobState.PREPARING,
            JobState.CANCELLING,
            JobState.CANCELLED,
            JobState.FAILED,
            JobState.INTERRUPTED,
        }
    ),
    JobState.PREPARING: frozenset(
        {JobState.QUEUED, JobState.RUNNING, JobState.CANCELLING, JobState.FAILED, JobState.INTERRUPTED}
    ),
    JobState.RUNNING: frozenset(
        {JobState.CANCELLING, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED}
    ),
    JobState.CANCELLING: frozenset({JobState.CANCELLED, JobState.SUCCEEDED, JobState.FAILED}),
    JobState.INTERRUPTED: frozenset(
        {
            JobState.QUEUED,
            JobState.PREPARING,
            JobState.RUNNING,
            JobState.CANCELLING,
            JobState.CANCELLED,
            JobState.SUCCEEDED,
            JobState.FAILED,
        }
    ),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
    JobState.SUCCEEDED: frozenset(),
}


class WorkerState(StrEnum):
    """What was last observed about a worker."""

    ABSENT = "absent"
    CREATING = "creating"
    BOOTING = "booting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DELETING = "deleting"
    UNREACHABLE = "unreachable"


class LaunchPhase(IntEnum):
    """The parts of a launch, in order. Starting the worker's machine belongs to `CONNECT`."""

    RESOLVE = 1
    CONNECT = 2
    PREPARE = 3
    START = 4
    RUN = 5


class WorkerDesired(StrEnum):
    """What the user wants of a worker."""

    UP = "up"
    DOWN = "down"
    GONE = "gone"


WORKER_MOVES: Mapping[WorkerState, frozenset[WorkerState]] = {
    WorkerState.ABSENT: frozenset({WorkerState.CREATING, WorkerState.READY, WorkerState.UNREACHABLE}),
    WorkerState.CREATING: frozenset(
        {WorkerState.BOOTING, WorkerState.ABSENT, WorkerState.DELETING, WorkerState.STOPPED}
    ),
    WorkerState.BOOTING: frozenset(
        {
            WorkerState.READY,
            WorkerState.STOPPING,
            WorkerState.STOPPED,
            WorkerState.DELETING,
            WorkerState.UNREACHABLE,
            WorkerState.ABSENT,
        }
    ),
    WorkerState.READY: frozenset(
        {
            WorkerState.UNREACHABLE,
            WorkerState.STOPPING,
            WorkerState.STOPPED,
            WorkerState.DELETING,
            WorkerState.ABSENT,
            WorkerState.BOOTING,
        }
    ),
    WorkerState.STOPPING: frozenset({WorkerState.STOPPED, WorkerState.READY, WorkerState.ABSENT}),
    WorkerState.STOPPED: frozenset({WorkerState.BOOTING, WorkerState.DELETING, WorkerState.ABSENT}),
    WorkerState.DELETING: frozenset({WorkerState.ABSENT}),
    WorkerState.UNREACHABLE: frozenset(
        {
            WorkerState.READY,
            WorkerState.BOOTING,
            WorkerState.STOPPING,
            WorkerState.STOPPED,
            WorkerState.DELETING,
            WorkerState.ABSENT,
        }
    ),
}


class RequestKind(StrEnum):
    """What can be requested of a worker. All but `remove_job` are about its machine."""

    KEEP = "keep"
    START = "start"
    STOP = "stop"
    REBUILD = "rebuild"
    RESIZE = "resize"
    DELETE = "delete"
    REMOVE_JOB = "remove_job"


class NoticeKind(StrEnum):
    """What a user is notified of (settings `notify` and `notify_kinds`)."""

    NEEDS_YOU = "needs-you"
    DONE = "done"
    FAILED = "failed"
    LIMIT = "limit"


class RequestState(StrEnum):
    """How far a request is. `replaced`: a later request or command made it void."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    REPLACED = "replaced"


REQUEST_OPEN: frozenset[RequestState] = frozenset({RequestState.PENDING, RequestState.RUNNING})


def job_sources(target: JobState) -> frozenset[JobState]:
    """Return the states from which a job may move to `target`."""
    return frozenset(state for state, targets in JOB_MOVES.items() if target in targets)


def worker_sources(target: WorkerState) -> frozenset[WorkerState]:
    """Return the states from which a worker may move to `target`."""
    return frozenset(state for state, targets in WORKER_MOVES.items() if target in targets)


class DraftKind(StrEnum):
    """What a draft becomes on the forge."""

    REVIEW = "review"
    PUSH = "push"
    PULL_REQUEST = "pull_request"
    STATUS = "status"
    LABELS = "labels"
    REPLY = "reply"


class Scope(StrEnum):
    """What a token of the HTTP API may do. No scope includes another."""

    READ = "read"
    LAUNCH = "launch"
    SEND = "send"
    ADMIN = "admin"


class DraftState(StrEnum):
    """How far a draft is.

    `approved`: a person said yes, and a background process sends it. `sending`: an attempt began; whether it
    posted is looked up before the next one.
    """

    OPEN = "open"
    APPROVED = "approved"
    SENDING = "sending"
    SENT = "sent"
    DROPPED = "dropped"
