"""Which secrets a job gets, and how they get to its worker: on stdin, and into memory there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from django.conf import settings

from jobs.agents import registry as agents
from jobs.agents.base import IMPLEMENT_PROMPT, Agent, Options, plan_part, screen_part
from jobs.errors import NotConfigured, OffloadError, Refused, UsageError
from jobs.execution.secret_store import SecretStore, check_name
from jobs.forges import registry as forges
from jobs.models import Job
from jobs.playbooks import registry as playbooks
from jobs.remote.client import RunnerClient
from jobs.remote.offload_runner.protocol import Plan

OPEN = "open"  # the action whose agent has a screen of its own
# git's words for a server that wants a login, and GitHub's for what the login may not see.
_LOGIN_WANTED = re.compile(
    r"could not read Username|Authentication failed|[Rr]epository .*not found|terminal prompts disabled"
    r"|returned error: 40[13]"
)
# What posts and pushes; no job gets it. `Forge.write_token_name` makes the names.
_WRITES = re.compile(r"[A-Z]+_WRITE_TOKEN(_.*)?")


def store() -> SecretStore:
    """Return the user's secrets."""
    return SecretStore(settings.OFFLOAD.home)


async def secrets_for(
    job: Job, plan: Plan, step: Callable[[str], None] = lambda text: None
) -> dict[str, str]:
    """Return the secrets that the plan's tasks name, by name.

    Only what the job was granted (`--secret`), or its agent needs, may be named. Raises `Refused` for
    another, `NotConfigured` for one that is not there.
    """
    granted = set(job.options.get("secrets") or ())
    wanted: dict[str, list[str]] = {}
    for task in plan.tasks:
        for name in task.secret_names:
            if _WRITES.fullmatch(name):
                raise Refused(
                    f"The task {task.id} names the secret {name}, which only the outbox may use.",
                    hint="Give the job another token, one that can only read.",
                )
            if name not in granted and task.agent is None:
                raise Refused(
                    f"The task {task.id} names the secret {name}, which this job was not given.",
                    hint=f"Remove the job and start it with --secret {name}, if its code may have it.",
                )
            wanted.setdefault(name, []).append(task.id)
    for name in sorted(granted - set(wanted)):
        step(f"No task names the secret {name}, so none gets it (see docs/secrets.md)")
    found = await asyncio.to_thread(_read, sorted(wanted))
    for name, tasks in sorted(wanted.items()):
        if name not in found:
            raise NotConfigured(
                f"The task {', '.join(tasks)} needs the secret {name}, and there is none.",
                hint=f"Keep it with `manage.py offload secret set {name}`, or set the variable {name}.",
            )
    return found


def _read(names: list[str]) -> dict[str, str]:
    kept = store()
    found = {name: kept.get(check_name(name)) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def agent_of(job: Job) -> Agent | None:
    """Return the job's agent, set up as the settings say; None without one."""
    name = job.options.get("agent")
    return _configured(name) if name else None


def configured_agents() -> list[Agent]:
    """Return every agent, set up as the settings say."""
    return [_configured(name) for name in agents.NAMES]


def _configured(name: str) -> Agent:
    config = settings.OFFLOAD
    options = Options(
        url=config.agent_url,
        model=config.agent_model,
        tokens=config.agent_tokens,
        command=config.agent_command,
        screen=config.agent_screen,
        secrets=tuple(config.agent_secrets),
        api=config.agent_api,
    )
    return agents.get(name, options)


def agent_call(job: Job) -> dict[str, Any] | None:
    """Return what the job's plan says of its agent. Raises `NotConfigured` or `UsageError`."""
    agent, request = agent_of(job), job.options.get("prompt") or ""
    if agent is None:
        return None
    if job.action == OPEN:
        return screen_part(agent, agent.open(request))
    purpose = playbooks.get(job.action).runs_agent_as
    if purpose == "implement":
        return plan_part(agent, agent.fix(request, IMPLEMENT_PROMPT))
    return plan_part(agent, agent.fix(request) if purpose == "fix" else agent.review(request))


def held_by_agent(plan: Plan) -> list[str]:
    """Return the names of the secrets that an agent of the plan gets itself, not its gateway."""
    return sorted({name for task in plan.tasks if task.agent for name in task.secrets})


async def lay_out_profile(client: RunnerClient, job: Job) -> None:
    """Have the template of the agent's profile on the worker, as it must be."""
    agent = agent_of(job)
    if agent is None:
        return
    profile = agent.open("").profile if job.action == OPEN else agent.profile
    if profile is not None:
        await client.profile(profile.name, profile.files)


async def credentials_for(url: str) -> dict[str, Any]:
    """Return what `prepare` needs to fetch a private repository: `{"credentials": {...}}`, or nothing.

    A token is sent for an https address only, under the name that is its host's own.
    """
    forge = forges.for_url(url)
    name = forge.token_name(url)
    if not name:
        return {}
    try:
        value = (await asyncio.to_thread(_read, [name])).get(name)
    except UsageError:
        return {}  # whatever the variable of that name holds, it is no token
    return {"credentials": {"user": forge.token_user, "token": value}} if value else {}


def missing_credentials(url: str, error: OffloadError) -> OffloadError:
    """Return the error with a hint at the token that would open a private repository, if that may be it."""
    name = forges.for_url(url).token_name(url)
    if name and _LOGIN_WANTED.search(error.message):
        hint = f"If the repository is private, keep a token for it: `manage.py offload secret set {name}`."
        return type(error)(error.message, hint=hint)
    return error


@asynccontextmanager
async def delivered(
    client: RunnerClient, session: str, secrets: Mapping[str, str]
) -> AsyncIterator[Callable[[bool], None]]:
    """Deliver a job's secrets for the start within the block; `keep(False)`: no task is going to take them.

    What no task takes is deleted again, also when the start fails.
    """
    if not secrets:
        yield lambda taken: None
        return
    await client.secrets(session, secrets)
    taken = False

    def keep(started: bool) -> None:
        nonlocal taken
        taken = started

    try:
        yield keep
    finally:
        if not taken:
            with suppress(OffloadError):
                await asyncio.shield(client.secrets(session, {}))
