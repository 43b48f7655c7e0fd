"""`implement`: do what an issue asks for, by an agent in rounds: first a test that fails, then the change."""

from __future__ import annotations

from typing import ClassVar

from jobs.playbooks import overrides
from jobs.playbooks.assembly import finish, runner_step
from jobs.playbooks.base import Context, Playbook
from jobs.playbooks.commands import TASK_TIMEOUT, gather, toolchains_for
from jobs.playbooks.fix import in_rounds
from jobs.remote.offload_runner.protocol import Plan

# The first of them is for the test.
ROUNDS = 4


class Implement(Playbook):
    """The head is the base: what runs there first is what every round is compared with.

    A round without a test that is proven to fail is for that test. Its commit is what the tests of later
    rounds are held against.
    """

    action: ClassVar[str] = "implement"
    summary: ClassVar[str] = "have an agent implement an issue, from a failing test on"
    needs_issue: ClassVar[bool] = True
    runs_agent_as: ClassVar[str] = "implement"

    def plan(self, context: Context) -> Plan:
        """Return the plan of an implementation."""
        own = overrides.read(context.facts)
        timeout = own.timeout or TASK_TIMEOUT
        toolchains = toolchains_for(context.facts, own)
        evidence = gather(context, toolchains, toolchains, timeout)
        tasks = [runner_step(context, "context", "what there is", evidence=False), *evidence.tasks]
        known = [task.id for task in tasks] + [extra.id for extra in own.tasks]
        last = in_rounds(context, known, timeout, ROUNDS, "what is to be implemented")
        return finish(context, self.action, own, tasks, evidence.notes, last)
