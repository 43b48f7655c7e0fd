"""`review`: is this change right? Evidence from its commit and from the base it starts from."""

from __future__ import annotations

from typing import ClassVar

from jobs.playbooks import overrides
from jobs.playbooks.assembly import compare_task, finish, runner_step
from jobs.playbooks.base import Context, Playbook
from jobs.playbooks.commands import TASK_TIMEOUT, gather, proof_groups, setup, step_argv, toolchains_for
from jobs.remote.offload_runner.protocol import Plan, Task


class Review(Playbook):
    """Context and conflicts; install, build; tests, lint and types in parallel; then the behavioural proof.

    The base is installed while the head is when changed tests can prove something; it is tested only when
    the head fails, to tell what the change breaks.
    """

    action: ClassVar[str] = "review"
    summary: ClassVar[str] = "build, test and judge a change, with evidence"
    keeps_environment: ClassVar[bool] = True

    def plan(self, context: Context) -> Plan:
        """Return the plan of a review."""
        own = overrides.read(context.facts)
        timeout = own.timeout or TASK_TIMEOUT
        toolchains = toolchains_for(context.facts, own)
        base = toolchains_for(context.facts.at_merge_base, own)
        evidence = gather(context, toolchains, base, timeout)
        tasks = [
            runner_step(context, "context", "what changed", evidence=False),
            *([runner_step(context, "conflicts", "merge with the base")] if context.base_sha else []),
            *evidence.tasks,
        ]
        ready = evidence.of("install", "build")
        on_base = [step.shell for step in setup(base)]
        # A change without a base (a first commit, say) has nothing to be compared with.
        groups = proof_groups(context, toolchains, evidence) if context.merge_base else []
        if groups:
            tasks.append(
                Task(
                    id="base",
                    name="install and build the base",
                    role="base",
                    argv=step_argv("base", context.session),
                    timeout=timeout,
                    outputs={"setup": on_base, "shown": " && ".join(on_base)},
                )
            )
            files = sum(len(group["test_files"]) for group in groups)
            tasks.append(
                Task(
                    id="proof",
                    name=f"{files} changed test file{'s' * (files != 1)} on base and head"
                    if files
                    else "tests of changed test support on base and head",
                    role="proof",
                    argv=step_argv("proof", context.session),
                    # After the tests, as it brings their tree back to the commit.
                    needs=[*ready, "base"],
                    after=evidence.of("test", "lint", "types"),
                    timeout=timeout,
                    outputs={"proof": groups, "setup": on_base, "shown": ""},
                )
            )
        if context.merge_base and evidence.of("test", "build", "lint", "types"):
            # After the proof, which works in the same tree.
            needs = [*ready, *evidence.of("test", "lint", "types"), *(["proof"] if groups else [])]
            tasks.append(compare_task(context, base, evidence, needs, timeout))
            if (
                evidence.of("test")
                and own.hunks != 0
                and any(f.status in "AMR" for f in context.facts.changed)
            ):
                outputs = {
                    "setup": on_base,
                    "build": [step.shell for step in setup(toolchains) if step.role == "build"],
                    "checks": [check for check in evidence.checks if check["role"] == "test"],
                    "proof": groups,
                    "seconds": own.hunks,
                    "shown": "",
                }
                tasks.append(
                    Task(
                        id="hunks",
                        name="proof per hunk",
                        role="hunks",
                        argv=step_argv("hunks", context.session),
                        needs=[*evidence.of("test"), "test-base"],
                        timeout=timeout,
                        outputs=outputs,
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
                    gateway=context.agent_call["gateway"],
                    outputs={"agent": dict(context.agent_call), "shown": ""},
                )
            )
        return finish(context, self.action, own, tasks, evidence.notes)
