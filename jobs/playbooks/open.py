"""`open`: a worktree and a shell, or an agent on its own screen."""

from __future__ import annotations

from typing import ClassVar

from jobs.playbooks.assembly import describe
from jobs.playbooks.base import Context, Playbook
from jobs.remote.offload_runner.protocol import Plan, Task

# A person ends it, or the agent.
SCREEN_SECONDS = 365 * 24 * 3600


class Open(Playbook):
    """Without an agent a plan without tasks: the pane goes straight to the shell.

    With one it has the pane to itself until it ends; then the shell is there.
    """

    action: ClassVar[str] = "open"
    summary: ClassVar[str] = "a worktree of the change and a shell in it, or an agent"

    def plan(self, context: Context) -> Plan:
        """Return the plan."""
        job = describe(context, self.action)
        call = context.agent_call
        if call is None:
            return Plan(job=job, tasks=[])
        task = Task(
            id="agent",
            name=f"{context.agent} on its own screen",
            role="agent",
            argv=[call["argv"][0]],
            timeout=SCREEN_SECONDS,
            secrets=list(call["secrets"]),
            agent=context.agent,
            evidence=False,
            outputs={"agent": dict(call), "shown": call["argv"][0]},
            gateway=call["gateway"],
            terminal=True,
        )
        return Plan(job=job, tasks=[task])
