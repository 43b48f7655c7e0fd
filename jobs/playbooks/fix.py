"""`fix`: repair what counts against a change, by an agent in rounds, each with evidence of its own."""

from __future__ import annotations

from typing import Any, ClassVar

from jobs.playbooks import overrides
from jobs.playbooks.assembly import compare_task, finish, runner_step
from jobs.playbooks.base import Context, Playbook
from jobs.playbooks.commands import TASK_TIMEOUT, gather, step_argv, toolchains_for
from jobs.remote.offload_runner.protocol import Plan, Task

ROUNDS = 3
MOST_ROUNDS = 10
# No round begins later than this after the diagnosis.
_SECONDS = 2 * 3600


class Fix(Playbook):
    """Diagnose as in a review; then rounds of agent and evidence, until nothing is left or at a limit.

    A round's agent edits a tree of its own. What it changed becomes a commit, on which everything runs
    again. The tasks of the rounds stand behind the gate that the diagnosis and each round write.
    """

    action: ClassVar[str] = "fix"
    summary: ClassVar[str] = "have an agent repair a change, in rounds, each with evidence"
    needs_forge: ClassVar[bool] = True
    runs_agent_as: ClassVar[str] = "fix"

    def plan(self, context: Context) -> Plan:
        """Return the plan of a fix."""
        own = overrides.read(context.facts)
        timeout = own.timeout or TASK_TIMEOUT
        base = toolchains_for(context.facts.at_merge_base, own)
        evidence = gather(context, toolchains_for(context.facts, own), base, timeout)
        tasks = [runner_step(context, "context", "what changed", evidence=False)]
        if context.base_sha:
            tasks.append(runner_step(context, "conflicts", "merge with the base"))
        tasks += evidence.tasks
        if context.merge_base and evidence.of("test", "build", "lint", "types"):
            needs = evidence.of("install", "build", "test", "lint", "types")
            tasks.append(compare_task(context, base, evidence, needs, timeout))
        known = [task.id for task in tasks] + [extra.id for extra in own.tasks]
        last = in_rounds(context, known, timeout, ROUNDS, "what is to be repaired")
        return finish(context, self.action, own, tasks, evidence.notes, last)


def in_rounds(context: Context, known: list[str], timeout: int, count: int, shown: str) -> list[Task]:
    """Return the tasks that follow the evidence: what is to be done, and the rounds of agent and evidence."""
    tasks = [runner_step(context, "triage", shown, evidence=False, when="always", needs=known)]
    call = context.agent_call
    count = int(context.options.get("rounds") or count)
    for number in range(1, count + 1) if call is not None else ():
        tasks += _round(context, number, count, dict(call or {}), tasks[-1].id, timeout)
    return tasks


def _round(
    context: Context,
    number: int,
    count: int,
    call: dict[str, Any],
    after: str,
    timeout: int,
) -> list[Task]:
    agent = Task(
        id=f"fix-{number}",
        name=f"round {number}: {context.agent}",
        role="fix",
        argv=step_argv("fix", context.session),
        needs=[after],
        when="always",
        timeout=timeout,
        secrets=list(call["secrets"]),
        agent=context.agent,
        gateway=call["gateway"],
        outputs={"agent": call, "shown": ""},
        gate="rounds",
    )
    # Every command of the plan, one after the other, and the tests up to three times. It is given no secret.
    runs = Task(
        id=f"fixed-{number}",
        name=f"round {number}: everything again",
        role="fixed",
        argv=step_argv("fixed", context.session),
        needs=[agent.id],
        when="always",
        timeout=timeout * 3,
        outputs={"rounds": count, "seconds": _SECONDS, "shown": ""},
        gate="rounds",
    )
    return [agent, runs]
