"""Check the coding agents: is each where the jobs of a worker run, and is it recent enough?"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence

from asgiref.sync import sync_to_async

from jobs.agents.base import Agent, Program
from jobs.agents.gemini import Gemini
from jobs.errors import NotConfigured, OffloadError
from jobs.execution import configured_agents
from jobs.models import Worker
from jobs.providers.base import Problem, Severity
from jobs.providers.local import read_version
from jobs.workers import Connection, connect, ensure_local_worker, find_program, words_for_ssh

REACH_SECONDS = 90.0


async def check_agents(workers: Sequence[Worker] = ()) -> list[Problem]:
    """Return what is right and wrong with each agent on these workers, or on all of them."""
    await sync_to_async(ensure_local_worker)()
    chosen = list(workers) or [worker async for worker in Worker.objects.all()]
    problems: list[Problem] = []
    programs: list[Program] = []
    for agent in configured_agents():
        try:
            programs.append(agent.program())
        except NotConfigured as error:
            problems.append(_unused(agent, error))
    for found in await asyncio.gather(*(_check_worker(worker, programs) for worker in chosen)):
        problems += found
    return problems


def _unused(agent: Agent, error: NotConfigured) -> Problem:
    return Problem(
        Severity.PASS, f"agent {agent.name}", f"Not used: {error.message} {error.hint or ''}".strip()
    )


async def _check_worker(worker: Worker, programs: Sequence[Program]) -> list[Problem]:
    try:
        async with asyncio.timeout(REACH_SECONDS), connect(worker) as line:
            return [await _check(line, program) for program in programs]
    except OffloadError as error:
        return [Problem(Severity.WARN, f"worker {worker}: agents", error.message, error.hint)]
    except TimeoutError:
        text = f"It did not answer within {REACH_SECONDS:g} seconds."
        return [
            Problem(Severity.WARN, f"worker {worker}: agents", text, "Check the machine and its network.")
        ]


async def _check(line: Connection, program: Program) -> Problem:
    subject = f"worker {line.worker}: agent {program.agent}"
    where = f"image {line.container.image}" if line.container is not None else "PATH"
    found = await find_program(line, program.name, ask_version=program.oldest is not None)
    remedy, command = _install(line, program)
    if found is None:
        text = f"There is no {program.name} {'in the' if line.container else 'on the'} {where}."
        return Problem(Severity.WARN, subject, text, remedy, command)
    if program.oldest is None:
        return Problem(Severity.PASS, subject, f"{found.path}; its version is not asked for.")
    needed = ".".join(map(str, program.oldest))
    version = read_version(found.said)
    if version is None:
        text = f"{found.path} says {found.said!r}, which names no version; {needed} or newer is needed."
        return Problem(Severity.FAIL, subject, text, remedy, command)
    if version < program.oldest:
        text = f"{found.path} is version {found.said}, which is too old: {needed} or newer is needed."
        return Problem(Severity.FAIL, subject, text, remedy, command)
    return Problem(Severity.PASS, subject, f"Version {found.said} ({found.path}).")


def _install(line: Connection, program: Program) -> tuple[str, str]:
    """Return what to do about a missing or old program, and the command that does it."""
    if line.container is not None:
        more = "" if program.agent == Gemini.name else f" --with-agents {program.agent}"
        return f"Build an image that has the agent, with `offload fleet image build{more}`.", ""
    if not program.install:
        return "Install it on the worker.", ""
    ssh = words_for_ssh(line.worker)
    command = program.install if ssh is None else f"ssh {ssh} {shlex.quote(program.install)}"
    return "Install it with Node 20 or newer on the worker:", command
