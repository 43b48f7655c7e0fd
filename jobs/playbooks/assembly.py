"""From tasks to a whole plan: the runner's own steps, the repository's further tasks, the synthesis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from jobs.errors import UsageError
from jobs.playbooks.base import Context
from jobs.playbooks.commands import TASK_TIMEOUT, Evidence, on_base_shown, setup, step_argv
from jobs.playbooks.detect import Toolchain
from jobs.playbooks.overrides import Overrides
from jobs.remote.offload_runner.protocol import Plan, PlanError, Task, load_plan

STEP_TIMEOUT = 300


def finish(
    context: Context,
    action: str,
    own: Overrides,
    tasks: Sequence[Task],
    notes: Sequence[Mapping[str, str]] = (),
    last: Sequence[Task] = (),
) -> Plan:
    """Return the plan of these tasks, the repository's further ones, the `last` ones, and the synthesis.

    `notes` say what the plan leaves out, for the assessment.

    Raises `UsageError` when a further task does not fit in.
    """
    tasks = [replace(task, secrets=[*task.secrets, *own.secrets.get(task.role, ())]) for task in tasks]
    known = {task.id for task in tasks}
    taken = {"synthesis", *(task.id for task in last)}
    for extra in own.tasks:
        if extra.id in known or extra.id in taken or not known.issuperset(extra.needs):
            raise UsageError(
                f"The task {extra.id!r} of the base branch's configuration does not fit into the plan.",
                hint=f"Its id must be new, and its needs among: {', '.join(sorted(known))}.",
            )
        known.add(extra.id)
        timeout = extra.timeout or own.timeout or TASK_TIMEOUT
        tasks.append(
            Task(
                extra.id,
                extra.name,
                shell=extra.shell,
                needs=list(extra.needs),
                secrets=list(extra.secrets),
                writes=extra.writes,
                timeout=timeout,
            )
        )
    tasks += last
    needs = [task.id for task in tasks]
    tasks.append(
        runner_step(
            context, "synthesis", "verdict and assessment", evidence=False, when="always", needs=needs
        )
    )
    parallel = own.parallel or context.options.get("parallel")
    try:
        job = {**describe(context, action), "notes": [dict(note) for note in notes]}
        plan = Plan(job, tasks, parallel, ports=list(own.ports))
        return load_plan(plan.to_json())
    except PlanError as error:
        raise UsageError(
            f"The plan for {context.target} does not hold together: {error}.",
            hint="Check the tasks in the base branch's configuration.",
        ) from error


def runner_step(
    context: Context,
    name: str,
    shown: str,
    *,
    evidence: bool = True,
    when: str = "success",
    needs: Sequence[str] = (),
) -> Task:
    """Return a task that the runner does itself; its role is its name."""
    return Task(
        id=name,
        name=shown,
        role=name,
        argv=step_argv(name, context.session),
        needs=list(needs),
        timeout=STEP_TIMEOUT,
        evidence=evidence,
        when=when,
        outputs={"shown": ""},
    )


def compare_task(
    context: Context, base: Sequence[Toolchain], evidence: Evidence, needs: Sequence[str], timeout: int
) -> Task:
    """Return the task that runs on the base what failed on the head; it returns early when nothing did."""
    return Task(
        id="test-base",
        name="comparison with the base",
        role="test_base",
        argv=step_argv("compare", context.session),
        needs=list(needs),
        when="always",
        timeout=timeout,
        outputs={
            "setup": [step.shell for step in setup(base)],
            "checks": evidence.checks,
            "image": context.image,
            "shown": on_base_shown(base),
        },
    )


def describe(context: Context, action: str) -> dict[str, object]:
    """Return the `job` part of a plan: what the pane and the assessment say it is about."""
    return {
        "session": context.session,
        "action": action,
        "repository": context.repository,
        "target": context.target,
        "number": context.number,
        "sha": context.sha,
        "base_sha": context.base_sha,
        "base_ref": context.base_ref,
        "merge_base": context.merge_base,
        "forge": context.forge.to_json() if context.forge is not None else None,
        "issue": context.issue.to_json() if context.issue is not None else None,
        "branch": context.issue.branch if context.issue is not None else "",
    }
