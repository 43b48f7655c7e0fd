"""The jobs of one command with several targets. One that fails stops no other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from jobs import invocation
from jobs.cli.output import print_json, print_outcome, say
from jobs.cli.parser import print_error_json
from jobs.cli.request import Request
from jobs.cli.table import job_lines
from jobs.cli.waiting import exit_code
from jobs.client import get_client, json_of
from jobs.errors import NotFound, OffloadError
from jobs.models import Job


async def act_on_each(request: Request, act: Callable[[Request, Job], Awaitable[int]]) -> int:
    """Find the jobs of all targets, then act on one after the other; return the first exit code but 0.

    A target without a job raises before anything is done. With --json each job prints an object of its own.
    """
    jobs = await request.jobs()
    if len(jobs) == 1:
        return await act(request, jobs[0])
    codes = []
    for job in jobs:
        try:
            codes.append(await act(request, job))
        except OffloadError as error:
            codes.append(error.exit_code)
            if request.json:
                message = invocation.render_commands(f"{job.session}: {error.message}")
                print_error_json(error.code, message, invocation.render_commands(error.hint))
            else:
                say(f"{job.session}: {error.message}\n{error.hint}".strip())
    return next(filter(None, codes), 0)


class SeveralJobs:
    """What became of each target. `targets`: as they are shown, in order.

    `jobs`: the submitted ones. `new`: the ids of those that did not exist before. `errors`: what failed.
    """

    def __init__(self, request: Request, targets: Sequence[str]) -> None:
        self.request = request
        self.targets = targets
        self.jobs: dict[str, Job] = {}
        self.new: set[int] = set()
        self.errors: dict[str, OffloadError] = {}

    @asynccontextmanager
    async def noting_errors(self, target: str) -> AsyncIterator[None]:
        """Note an `OffloadError` of the block, and print it unless it is part of the JSON."""
        try:
            yield
        except OffloadError as error:
            self.errors[target] = error
            if not self.request.json:
                say(f"{target}: {error.message}\n{error.hint}".strip())

    async def wait(self) -> None:
        """Wait until the jobs that were started have ended; print each outcome as it comes."""
        started = [target for target in self.jobs if target not in self.errors]
        await asyncio.gather(*(self._wait_for(target) for target in started))

    async def _wait_for(self, target: str) -> None:
        async with self.noting_errors(target):
            client = get_client()
            job = await client.wait(self.jobs[target].id, timeout=self.request.timeout)
            self.jobs[target] = job = await client.finish(job)
            if not self.request.json:
                print_outcome(job)

    async def finish(self) -> int:
        """Print the jobs as they are now, and return the exit code: that of the first target that failed."""
        client, jobs = get_client(), []
        for submitted in self.jobs.values():
            with contextlib.suppress(NotFound):  # taken back, because it could not be started
                jobs.append(await client.load(submitted.id))
        if self.request.json:
            errors = [
                {
                    "target": target,
                    "code": error.code,
                    "message": invocation.render_commands(error.message),
                    "hint": invocation.render_commands(error.hint) or None,
                }
                for target, error in self.errors.items()
            ]
            print_json("jobs", [json_of(job) for job in jobs], errors=errors)
        elif not self.request.wait:
            print("".join(f"{line}\n" for line in job_lines(jobs)), end="")
        return next(filter(None, map(self._code_of, self.targets)), 0)

    def _code_of(self, target: str) -> int:
        if target in self.errors:
            return self.errors[target].exit_code
        return exit_code(self.jobs[target]) if self.request.wait else 0
