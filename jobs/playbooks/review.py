"""`review`: is this change right? Evidence from its commit, beside the base it starts from."""

from __future__ import annotations

from typing import ClassVar

from jobs.playbooks import overrides
from jobs.playbooks.assembly import finish, runner_step
from jobs.playbooks.base import Context, Playbook
from jobs.playbooks.commands import (
    TASK_TIMEOUT,
    gather,
    on_base,
    on_base_shown,
    proof_groups,
    step_argv,
    toolchains_for,
)
from jobs.remote.offload_runner.protocol import Plan, Task


class Review(Playbook):
    """Context and conflicts; install, build; then tests, lint, types and the behavioural proof side by side.

    The base is built and tested only when the head fails, to tell whose fault it is.
    """

    action: ClassVar[str] = "review"
    summary: ClassVar[str] = "build, test and judge a change, with evidence"

    def plan(self, context: Context) -> Plan:
        """Return the plan of a review."""
        own = overrides.read(context.facts)
        timeout = own.timeout or TASK_TIMEOUT
        toolchains = toolchains_for(context, own)
        evidence = gather(context, toolchains, timeout)
        tasks = [
            runner_step(context, "context", "what changed", evidence=False),
            *([runner_step(context, "conflicts", "merge with the base")] if context.base_sha else []),
            *evidence.tasks,
        ]
        ready = evidence.of("install", "build")
        # A change without a base (a first commit, say) has nothing to be compared with.
        groups = proof_groups(context, toolchains) if context.merge_base else []
        if groups:
            files = sum(len(group["test_files"]) for group in groups)
            tasks.append(
                Task(
                    id="proof",
                    name=f"{files} changed test file{'s' * (files != 1)} on base and head",
                    role="proof",
                    argv=step_argv("proof", context.session),
                    needs=ready,
                    timeout=timeout,
                    outputs={"proof": groups, "shown": ""},
                )
            )
        if context.merge_base and evidence.of("test", "build"):
            # After the proof, which works in the same tree.
            needs = [*ready, *evidence.of("test"), *(["proof"] if groups else [])]
            tasks.append(
                Task(
                    id="test-base",
                    name="the same on the base",
                    role="test_base",
                    shell=on_base(context, toolchains),
                    outputs={"shown": on_base_shown(toolchains)},
                    needs=needs,
                    when="failure",
                    timeout=timeout,
                )
            )
        if context.agent_call is not None:
            # After everything else: what the change's code left running is ended by then.
            tasks.append(
                Task(
                    id="agent",
                    name=f"review by {context.agent}",
                    role="agent",
                    argv=step_argv("agent", context.session),
                    needs=[task.id for task in tasks],
                    when="always",
                    timeout=timeout,
                    secrets=list(context.agent_call["secrets"]),
                    agent=context.agent,
                    outputs={"agent": dict(context.agent_call), "shown": ""},
                )
            )
        return finish(context, self.action, own, tasks)
