"""Which task is next: pure decisions over a plan and what its tasks came to."""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional

from jobs.remote.offload_runner.protocol import (
    CANCELLED,
    FAILED,
    PENDING,
    RUNNING,
    SUCCEEDED,
    TASK_FINAL,
    Plan,
    Task,
)

READY = "ready"
WAIT = "wait"
SKIP = "skip"


def decide(task: Task, states: Mapping[str, str]) -> str:
    """Return `READY`, `WAIT` or `SKIP` for a pending task.

    success: every need succeeded. failure: at least one need failed. always: every need ended somehow.
    """
    ends = [states[need] for need in task.needs]
    if any(state not in TASK_FINAL for state in [*ends, *(states[other] for other in task.after)]):
        return WAIT
    if task.when == "always":
        return READY
    if task.when == "failure":
        return READY if FAILED in ends else SKIP
    return READY if all(state == SUCCEEDED for state in ends) else SKIP


def skip_reason(task: Task, plan: Plan, states: Mapping[str, str]) -> str:
    """Return why a task is skipped, in words for people."""
    names = {other.id: other.name for other in plan.tasks}
    if task.when == "failure":
        return "nothing it waits for failed"
    blocking = [names[need] for need in task.needs if states[need] != SUCCEEDED]
    verb = "failed" if any(states[need] == FAILED for need in task.needs) else "did not run"
    return "%s %s" % (", ".join(blocking), verb)


def next_tasks(plan: Plan, states: Mapping[str, str], free: int) -> List[Task]:
    """Return the tasks to start now, at most `free`: those that most depends on, else in the plan's order.

    A task with a secret, or with a gateway, runs while no other does: all tasks of a job are one user's.
    """
    running = [t for t in plan.tasks if states[t.id] == RUNNING]
    if any(_runs_alone(t) for t in running):
        return []
    ready = [t for t in plan.tasks if states[t.id] == PENDING and decide(t, states) == READY]
    length = _chains(plan)
    together = sorted((t for t in ready if not _runs_alone(t)), key=lambda task: -length[task.id])
    if together or running:
        return together[: max(0, free)]
    return ready[: min(1, max(0, free))]


def _chains(plan: Plan) -> Dict[str, int]:
    """Return for each task how many tasks the longest chain has that starts with it."""
    found = {task.id: 1 for task in plan.tasks}
    for task in reversed(plan.tasks):  # a task comes after what it needs
        for need in [*task.needs, *task.after]:
            found[need] = max(found[need], found[task.id] + 1)
    return found


def _runs_alone(task: Task) -> bool:
    return bool(task.secrets) or task.gateway is not None


def next_skipped(plan: Plan, states: Mapping[str, str]) -> Optional[Task]:
    """Return a task that can never run any more; None when there is none."""
    for task in plan.tasks:
        if states[task.id] == PENDING and decide(task, states) == SKIP:
            return task
    return None


def outcome(plan: Plan, states: Mapping[str, str]) -> str:
    """Return the state of a job whose tasks have all ended. Evidence only informs the verdict."""
    if any(state == CANCELLED for state in states.values()):
        return CANCELLED
    failed = any(states[task.id] == FAILED and not task.evidence for task in plan.tasks)
    return FAILED if failed else SUCCEEDED


def resumed_states(plan: Plan, last: Mapping[str, str], retry: bool) -> Dict[str, str]:
    """Return where each task stands when a runner takes over after another.

    Finished tasks stay finished; a task that was cut off runs again. With `retry` (a new run was asked for
    after the job had ended) failed and cancelled tasks run again too, and so does every task after them.
    """
    states: Dict[str, str] = {}
    for task in plan.tasks:
        state = last.get(task.id, PENDING)
        if state not in TASK_FINAL or state == CANCELLED:
            state = PENDING
        if retry and state == FAILED and not task.evidence:
            state = PENDING
        # What came after a task that runs again was judged on its old outcome.
        if any(states[need] == PENDING for need in [*task.needs, *task.after]):
            state = PENDING
        states[task.id] = state
    return states
