"""`ready`: may this be merged now? A clean installation, every check, and the base as it is today."""

from __future__ import annotations

import shlex
from typing import ClassVar

from jobs.playbooks import overrides
from jobs.playbooks.assembly import STEP_TIMEOUT, compare_task, finish, runner_step
from jobs.playbooks.base import Context, Playbook
from jobs.playbooks.commands import TASK_TIMEOUT, gather, toolchains_for
from jobs.remote.offload_runner.protocol import Plan, Task


class Ready(Playbook):
    """The head contains the base, merges without conflicts, builds, and passes its tests and checks.

    What the forge says blocks the merge (checks, reviews, threads, branch rules) counts as well.
    """

    action: ClassVar[str] = "ready"
    summary: ClassVar[str] = "check that a change can be merged now"
    needs_forge: ClassVar[bool] = True

    def plan(self, context: Context) -> Plan:
        """Return the plan of the last check before a merge."""
        own = overrides.read(context.facts)
        timeout = own.timeout or TASK_TIMEOUT
        base = toolchains_for(context.facts.at_merge_base, own)
        evidence = gather(context, toolchains_for(context.facts, own), base, timeout)
        tasks = [runner_step(context, "context", "what changed", evidence=False)]
        if context.base_sha:
            tasks += [
                Task(
                    id="up-to-date",
                    name="the check for the current base",
                    shell=contains_base(context),
                    timeout=STEP_TIMEOUT,
                ),
                runner_step(context, "conflicts", "merge with the base"),
            ]
        tasks += evidence.tasks
        if context.merge_base and evidence.of("test", "build", "lint", "types"):
            needs = evidence.of("install", "build", "test", "lint", "types")
            tasks.append(compare_task(context, base, evidence, needs, timeout))
        return finish(context, self.action, own, tasks, evidence.notes)


def contains_base(context: Context) -> str:
    """Return the shell line that fails, and says how far behind the head is, unless it contains the base."""
    behind = f"git rev-list --count {context.sha}..{context.base_sha}"
    told = f"The head lacks $({behind}) commits of {context.base_ref or 'the base'}."
    return (
        f"git merge-base --is-ancestor {context.base_sha} {context.sha} || "
        f"{{ echo {_quoted(told)}; exit 1; }}"
    )


def _quoted(text: str) -> str:
    """Quote for the shell, letting only the command substitution through."""
    before, _, rest = text.partition("$(")
    command, _, after = rest.partition(")")
    return f'{shlex.quote(before)}"$({command})"{shlex.quote(after)}'
