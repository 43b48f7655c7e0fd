"""Needs x when: the decisions of the interpreter, as a table."""

from __future__ import annotations

import pytest

from jobs.remote.offload_runner.engine import schedule
from jobs.remote.offload_runner.protocol import Plan, Task

RUN, WAIT, SKIP = schedule.READY, schedule.WAIT, schedule.SKIP


@pytest.mark.parametrize(
    ("ends", "success", "failure", "always"),
    [
        ([], RUN, SKIP, RUN),
        (["succeeded"], RUN, SKIP, RUN),
        (["failed"], SKIP, RUN, RUN),
        (["skipped"], SKIP, SKIP, RUN),
        (["cancelled"], SKIP, SKIP, RUN),
        (["pending"], WAIT, WAIT, WAIT),
        (["running"], WAIT, WAIT, WAIT),
        (["interrupted"], WAIT, WAIT, WAIT),
        (["succeeded", "succeeded"], RUN, SKIP, RUN),
        (["succeeded", "failed"], SKIP, RUN, RUN),
        (["succeeded", "skipped"], SKIP, SKIP, RUN),
        (["failed", "running"], WAIT, WAIT, WAIT),
        (["failed", "skipped"], SKIP, RUN, RUN),
    ],
)
def test_needs_by_when(ends: list[str], success: str, failure: str, always: str) -> None:
    states = {f"n{index}": state for index, state in enumerate(ends)}
    for when, expected in (("success", success), ("failure", failure), ("always", always)):
        task = Task("t", "T", argv=["true"], needs=list(states), when=when)
        assert schedule.decide(task, states) == expected, when


def plan(*tasks: Task) -> Plan:
    return Plan(job={}, tasks=list(tasks))


def task(name: str, *needs: str, evidence: bool = True) -> Task:
    return Task(name, name.upper(), argv=["true"], needs=list(needs), evidence=evidence)


def test_no_more_tasks_start_than_are_free() -> None:
    three = plan(task("a"), task("b"), task("c"))
    states = dict.fromkeys("abc", "pending")
    assert [t.id for t in schedule.next_tasks(three, states, 2)] == ["a", "b"]
    assert schedule.next_tasks(three, states, 0) == []


def test_the_longest_chain_starts_first() -> None:
    chains = plan(task("look"), task("install"), task("test", "install"), task("end", "look", "test"))
    states = {one.id: "pending" for one in chains.tasks}
    assert [t.id for t in schedule.next_tasks(chains, states, 1)] == ["install"]
    assert [t.id for t in schedule.next_tasks(chains, states, 2)] == ["install", "look"]


def test_only_tasks_that_are_not_evidence_fail_a_job() -> None:
    both = plan(task("install", evidence=False), task("tests"))
    assert schedule.outcome(both, {"install": "succeeded", "tests": "failed"}) == "succeeded"
    assert schedule.outcome(both, {"install": "failed", "tests": "skipped"}) == "failed"
    assert schedule.outcome(both, {"install": "succeeded", "tests": "cancelled"}) == "cancelled"


def test_a_resume_keeps_what_is_finished() -> None:
    chain = plan(task("a"), task("b", "a"), task("c", "b"), task("d"))
    last = {"a": "succeeded", "b": "interrupted", "d": "failed"}
    assert schedule.resumed_states(chain, last, retry=False) == {
        "a": "succeeded", "b": "pending", "c": "pending", "d": "failed",
    }  # fmt: skip


def test_a_retry_runs_again_what_failed_the_job_and_what_came_after() -> None:
    chain = plan(task("a", evidence=False), task("b", "a"), task("c"), task("d", "c"))
    last = {"a": "failed", "b": "skipped", "c": "failed", "d": "skipped"}
    assert schedule.resumed_states(chain, last, retry=True) == {
        "a": "pending", "b": "pending", "c": "failed", "d": "skipped",
    }  # fmt: skip


def test_a_skipped_task_says_why() -> None:
    chain = plan(task("a"), task("b", "a"), task("c", "b"))
    assert schedule.skip_reason(chain.tasks[1], chain, {"a": "failed"}) == "A failed"
    assert schedule.skip_reason(chain.tasks[2], chain, {"a": "failed", "b": "skipped"}) == "B did not run"
