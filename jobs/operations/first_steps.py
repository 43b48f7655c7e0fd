"""The first steps of a new home: what a first review needs, and a test of each that really tests.

The tests are the checks of `offload doctor`, in the order in which a new user meets what they check. Each
ends within `TEST_SECONDS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db.models import Q

from jobs import execution
from jobs.agents.generic import Generic
from jobs.errors import NotConfigured, NotFound, OffloadError
from jobs.forges.target import normalise_url
from jobs.invocation import command
from jobs.models import Repository, Worker
from jobs.operations.agent_checks import check_agents
from jobs.operations.checks import check_worker_in_full
from jobs.operations.forge_checks import check_forges
from jobs.operations.progress import silent
from jobs.providers.base import Problem, Severity
from jobs.workers import check_container, connect, ensure_local_worker, find_sibling, spec_of

TEST_SECONDS = 30.0
_IMAGE = "fleet image build"


@dataclass(frozen=True)
class FirstStep:
    """One step. `needed`: no review works without it. `command`: what takes the step, in a shell.

    `done`: whether it has been taken, as far as is known without a test; None: only the test tells. `known`:
    what is known of it.
    """

    name: str
    title: str
    why: str
    needed: bool
    done: bool | None
    known: str
    command: str


async def list_first_steps() -> list[FirstStep]:
    """Return the steps with what is known of each. Nothing is asked of a worker or forge."""
    await sync_to_async(ensure_local_worker)()
    repositories = [slug async for slug in Repository.objects.order_by("id").values_list("slug", flat=True)]
    repositories = repositories or ([settings.OFFLOAD.repo] if settings.OFFLOAD.repo else [])
    worker = await Worker.objects.filter(name=settings.OFFLOAD.worker).afirst()
    contained = [one.name async for one in Worker.objects.all() if spec_of(one.config, one.root) is not None]
    return [
        FirstStep(
            "repository", "Repository", "Whose pull requests are reviewed. git reads it as you.",
            True, bool(repositories), ", ".join(repositories[:3]), command("setup --set repo=OWNER/NAME"),
        ),
        FirstStep(
            "token", "Token of the forge",
            "For private repositories, review threads, and to post what you send. Public ones work without.",
            False, None, "", command("secret set GITHUB_TOKEN"),
        ),
        FirstStep(
            "worker", "Worker", "The machine that jobs run on: this one, unless you add another.",
            True, worker is not None, _worker_text(worker), command("fleet add NAME"),
        ),
        FirstStep(
            "image", "Container image",
            "Keeps a pull request's code from your files. Without it you are asked to trust a repository.",
            False, bool(contained) or None, ", ".join(contained), command(_IMAGE),
        ),
        FirstStep(
            "agent", "Coding agent",
            "Reads the change and writes its opinion. Evidence (tests, proof, lint) needs none.",
            False, None, "", command("doctor --agents"),
        ),
    ]  # fmt: skip


def _worker_text(worker: Worker | None) -> str:
    if worker is None:
        return f"There is no worker {settings.OFFLOAD.worker}."
    return f"{worker}: {worker.state}"


async def check_first_step(name: str, text: str = "") -> list[Problem]:
    """Test one step; return what was found, in at most `TEST_SECONDS`.

    `text`: for `repository`, the one to read; empty: the configured or the first known one. Raises `NotFound`
    for a step that does not exist.
    """
    if name not in _CHECKS:
        raise NotFound(f"There is no step {name!r}.", hint=f"Steps: {', '.join(_CHECKS)}.")
    try:
        async with asyncio.timeout(TEST_SECONDS):
            return await _CHECKS[name](text)
    except TimeoutError:
        told = f"The test was not over after {TEST_SECONDS:g} seconds."
        return [Problem(Severity.FAIL, name, told, "Check the network and the machine, and test again.")]
    except OffloadError as error:
        return [Problem(Severity.FAIL, name, error.message, error.hint)]


async def _check_repository(text: str) -> list[Problem]:
    named = text.strip() or settings.OFFLOAD.repo
    known = Repository.objects.filter(Q(slug=named) | Q(short=named)) if named else Repository.objects.all()
    found = await known.order_by("id").afirst()
    if found is None and not named:
        raise NotConfigured(
            "No repository is known yet.",
            hint="Type owner/name or its address into the field, and test again.",
        )
    # Not relative to the directory in which the server happens to run.
    url = found.url if found is not None else normalise_url(named, Path("/"))
    head = await execution.read_head(url, await _default_worker())
    if not head:
        told = f"{url} answers git, and has no commit yet."
        return [Problem(Severity.WARN, "repository", told, "Push a first commit.")]
    if found is None:
        await execution.resolve_repository(url, Path("/"))
    return [Problem(Severity.PASS, "repository", f"{url} answers git; its head is {head[:10]}.")]


async def _check_token(text: str) -> list[Problem]:
    found = await check_forges()
    if found:
        return found
    return [
        Problem(
            Severity.WARN, "token", "No repository of a forge with an API is known yet.",
            "Test the repository first: its address says which token counts.",
        )
    ]  # fmt: skip


async def _check_worker(text: str) -> list[Problem]:
    return await check_worker_in_full(await _default_worker(), silent, apply=False)


async def _check_image(text: str) -> list[Problem]:
    worker = await _default_worker()
    if worker.provider == "local" and spec_of(worker.config, worker.root) is None:
        sibling = await find_sibling(worker)
        if not sibling.contained:
            told = f"Code from elsewhere runs as you, once you trust it, because {sibling.why}."
            if sibling.command:
                return [Problem(Severity.WARN, "image", told, "This changes it:", command(sibling.command))]
            return [Problem(Severity.WARN, "image", told, sibling.remedy)]
        told = f"Code from elsewhere runs in a container, because {sibling.why}."
        return [Problem(Severity.PASS, "image", told)]
    async with connect(worker) as line:
        if line.container is None:
            told = f"Jobs on {worker} run without a container."
            return [Problem(Severity.WARN, "image", told, "See docs/container.md.")]
        return list(await check_container(line.transport, line.container))


async def _check_agent(text: str) -> list[Problem]:
    """Return the agents that work and those that are too old; when there is none, how to get the first."""
    worker = await _default_worker()
    found = await check_agents([worker])
    names = {agent.name for agent in execution.configured_agents()} - {Generic.name}
    usable = [one for one in found if one.subject.rpartition(" ")[2] in names]
    there = [one for one in usable if one.severity is not Severity.WARN]
    if there or not usable:
        return there or found
    told = f"{worker} has no coding agent: none of {', '.join(sorted(names))} was found."
    return [
        Problem(Severity.WARN, "agent", told, f"One of them is enough. {usable[0].remedy}", usable[0].command)
    ]


async def _default_worker() -> Worker:
    await sync_to_async(ensure_local_worker)()
    worker = await Worker.objects.filter(name=settings.OFFLOAD.worker).afirst()
    if worker is None:
        raise NotConfigured(
            f"The configured worker {settings.OFFLOAD.worker!r} does not exist.",
            hint=f"Add it: `offload fleet add {settings.OFFLOAD.worker}`, or set another: "
            "`offload setup --set worker=local`.",
        )
    return worker


_CHECKS: Mapping[str, Callable[[str], Awaitable[list[Problem]]]] = {
    "repository": _check_repository,
    "token": _check_token,
    "worker": _check_worker,
    "image": _check_image,
    "agent": _check_agent,
}
