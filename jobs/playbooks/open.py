"""`open`: a worktree and a shell, nothing else."""

from __future__ import annotations

from typing import ClassVar

from jobs.playbooks.assembly import describe
from jobs.playbooks.base import Context, Playbook
from jobs.remote.offload_runner.protocol import Plan


class Open(Playbook):
    """A plan without tasks: the pane goes straight to the shell."""

    action: ClassVar[str] = "open"
    summary: ClassVar[str] = "a worktree of the change and a shell in it"

    def plan(self, context: Context) -> Plan:
        """Return the empty plan."""
        return Plan(job=describe(context, self.action), tasks=[])
