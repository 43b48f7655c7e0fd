"""The client of a remote dashboard, by its HTTP API. Jobs are rows made of its answers; see `received`."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import TypedDict

from jobs.client import json_of
from jobs.client.connection import Connection, check_url
from jobs.client.here import may_resume
from jobs.client.received import (
    checked,
    read_account_json,
    read_cost_json,
    read_job_json,
    read_observed_pull_json,
    read_pull_json,
)
from jobs.client.tokens import read_token
from jobs.errors import ConnectFailed, ConnectionLost, NotFound, ProtocolMismatch, Refused, TimedOut, TooLarge
from jobs.forges.target import normalise_url, parse_target
from jobs.invocation import command
from jobs.models import Job, PullRequest
from jobs.operations import JobFilter, JobStatus, NewJob, Progress
from jobs.serializers import DraftJson, PreviewJson, RemovalJson, shown_target

if TYPE_CHECKING:
    from jobs.execution import Removal

PAGE = 100
LOG_PART = 4 * 1024 * 1024
WAIT_SECONDS = 30.0
ANSWER_SECONDS = 90.0  # until an agent has shown that an answer took effect
LOOK_SECONDS = 0.5
LEAST_WAIT_SECONDS = 1.0
MOST_ROWS = 100_000
RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
T = TypeVar("T")


class _Jobs(TypedDict):
    jobs: list[dict[str, Any]]
    next: int | None


class _Pulls(TypedDict):
    pull_requests: list[dict[str, Any]]
    warnings: list[str]


class _Status(TypedDict):
    job: dict[str, Any]
    cost: dict[str, Any] | None
    pull_request: dict[str, Any] | None
    why: dict[str, Any]
    warnings: list[str]


class _Removed(TypedDict):
    removal: RemovalJson


class _Drafts(TypedDict):
    drafts: list[DraftJson]


class _Draft(TypedDict):
    draft: DraftJson


class _PreviewOf(TypedDict):
    preview: PreviewJson


class _Previewed(TypedDict):
    draft: _PreviewOf


_open: dict[str, Remote] = {}


def open_remote(url: str) -> Remote:
    """Return the client of a dashboard, one for each process.

    Raises `NotConfigured` for a bad address or a missing token.
    """
    if url not in _open:
        check_url(url)  # before the keyring asks for anything
        _open[url] = Remote(Connection(url, read_token()))
    return _open[url]


async def aclose_all() -> None:
    """Close every connection. Call it before the event loop ends."""
    while _open:
        await _open.popitem()[1].aclose()


class Remote:
    """Jobs of a remote dashboard. `server`: its name."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.server = connection.server

    async def aclose(self) -> None:
        """Close the connection; `aclose_all` does that for every one."""
        await self._connection.aclose()

    async def _job(self, method: str, path: str, **options: Any) -> Job:
        answer = await self._connection.call(method, path, **options)
        return read_job_json(self._connection.read(answer).get("job"))

    async def _get(self, kind: type[T], path: str, **options: Any) -> T:
        return checked(kind, await self._connection.get_json(path, **options), f"what {path} is about")

    async def name_repository(self, text: str, cwd: Path) -> str:
        """Return a repository as the API takes it: a directory as its path; without a text, that of `cwd`."""
        from jobs import execution

        if not text:
            return await execution.find_upstream(cwd)
        return normalise_url(text, cwd) if (cwd / text).is_dir() else text

    async def find_job(self, text: str, action: str, repository: str, cwd: Path) -> Job:
        """Return the one job that target and action name. Raises `NotFound`, or `UsageError` with choices."""
        elsewhere = parse_target(text).repository and not repository
        named = "" if elsewhere else await self.name_repository(repository, cwd)
        return await self._job(
            "GET", "/jobs/find", params={"target": text, "action": action, "repository": named}
        )

    async def list_jobs(self, wanted: JobFilter, warn: Progress) -> list[Job]:
        """Return the matching jobs as the dashboard last observed them."""
        found: list[Job] = []
        before: int | None = wanted.before
        while before is not None and (not wanted.limit or len(found) < wanted.limit):
            params = {
                "repository": wanted.repository, "state": list(wanted.states), "before": before,
                "limit": min(PAGE, wanted.limit - len(found)) if wanted.limit else PAGE,
            }  # fmt: skip
            page = await self._get(_Jobs, "/jobs", params=params)
            found += [read_job_json(data) for data in page["jobs"]]
            if page["next"] is not None and (not page["jobs"] or len(found) > MOST_ROWS):
                raise self._endless("jobs")
            before = page["next"]
        return found

    def _endless(self, what: str) -> ProtocolMismatch:
        return ProtocolMismatch(
            f"The list of {what} of {self.server} has no end.", hint="Check OFFLOAD_URL, or use --limit."
        )

    async def list_pulls(self, repository: str, cwd: Path, warn: Progress) -> list[PullRequest]:
        """Return the open pull requests of a repository that the dashboard has jobs of."""
        named = await self.name_repository(repository, cwd)
        found: list[PullRequest] = []
        while True:
            params = {"repository": named, "limit": PAGE, "skip": len(found)}
            page = await self._get(_Pulls, "/pulls", params=params)
            if not found:
                for warning in page["warnings"]:
                    warn(warning)
            found += [read_pull_json(data) for data in page["pull_requests"]]
            if len(page["pull_requests"]) < PAGE:
                return found
            if len(found) > MOST_ROWS:
                raise self._endless("pull requests")

    async def load(self, job_id: int) -> Job:
        """Return a job as the dashboard last observed it. Raises `NotFound`."""
        return await self._job("GET", "/jobs/{job_id}", job_id=job_id)

    async def refresh(self, job_id: int) -> Job:
        """Return a job as the dashboard last observed it; its reconciler keeps it true."""
        return await self.load(job_id)

    async def read_status(self, job: Job, warn: Progress) -> JobStatus:
        """Return a job with its cost and its pull request."""
        data = await self._get(_Status, "/jobs/{job_id}/status", job_id=job.id)
        for warning in data["warnings"]:
            warn(warning)
        pull = read_observed_pull_json(data["pull_request"]) if data["pull_request"] else None
        account = read_account_json(data["why"])
        return JobStatus(read_job_json(data["job"]), read_cost_json(data["cost"]), pull, account)

    async def read_log(self, job_id: int, task: str, offset: int, limit: int) -> bytes:
        """Return a range of bytes of a task's log; empty at its end."""
        answer = await self._connection.call(
            "GET", "/jobs/{job_id}/tasks/{task}/log", job_id=job_id, task=task,
            params={"offset": offset, "limit": min(limit, LOG_PART)},
        )  # fmt: skip
        return answer.content

    async def peek(self, job_id: int, lines: int) -> str:
        """Return the text on the session's screen, with the last lines above it."""
        answer = await self._connection.call(
            "GET", "/jobs/{job_id}/screen", job_id=job_id, params={"lines": lines}
        )
        return answer.content.decode(errors="replace")

    async def diff(self, job_id: int, *, stat: bool, limit: int) -> bytes:
        """Return the change under review. Raises `TooLarge` for more than the API sends."""
        answer = await self._connection.call(
            "GET", "/jobs/{job_id}/diff", job_id=job_id,
            params={"stat": stat, "limit": min(limit, LOG_PART)},
        )  # fmt: skip
        if answer.headers.get("Offload-Cut") == "yes" and limit > LOG_PART:
            raise TooLarge(
                f"The change is larger than the {LOG_PART >> 20} MiB that {self.server} sends.",
                hint="See its files with --stat, or use git with the commits that `offload status` names.",
            )
        return answer.content

    async def wait(
        self, job_id: int, *, timeout: float | None, pausing: Callable[[Job], None] | None = None
    ) -> Job:
        """Return a job when it has ended. A broken connection is opened again for as long as it takes."""
        end = None if timeout is None else time.monotonic() + timeout
        job, failures = await self.load(job_id), 0
        while job.is_active and job.removed_at is None:
            left = WAIT_SECONDS if end is None else min(WAIT_SECONDS, end - time.monotonic())
            if left <= 0:
                raise TimedOut(
                    f"{job.session} has not ended within {timeout:g} s: it is {job.state}.",
                    hint="The job goes on; wait again.",
                )
            began = time.monotonic()
            try:
                job = await self._job(
                    "GET", "/jobs/{job_id}/wait", job_id=job_id, params={"seconds": left}, seconds=left + 30
                )
                failures = 0
                if job.is_active and time.monotonic() - began < min(left, LEAST_WAIT_SECONDS):
                    await asyncio.sleep(LEAST_WAIT_SECONDS)  # it did not wait for anything
            except (ConnectFailed, ConnectionLost):
                await asyncio.sleep(min(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)], left))
                failures += 1
        return job

    async def finish(self, job: Job) -> Job:
        """Return an ended job. The dashboard's reconciler archives its evidence."""
        return job

    async def cancel(self, job_id: int, actor: str) -> Job:
        """Cancel a job; return it when its processes have ended. The token names the actor."""
        job = await self._job("POST", "/jobs/{job_id}/cancel", job_id=job_id)
        while job.is_active:
            await asyncio.sleep(LOOK_SECONDS)
            job = await self.load(job_id)
        return job

    async def answer(self, job_id: int, answer: str, text: str, actor: str, *, about: str = "") -> Job:
        """Type an answer to the agent that waits in a job's pane. The token names the actor."""
        body = {"answer": answer, "text": text, "about": about}
        return await self._job(
            "POST", "/jobs/{job_id}/answer", job_id=job_id, json=body, seconds=ANSWER_SECONDS
        )

    async def remove(self, job_id: int, *, force: bool, actor: str) -> Removal:
        """Remove a job's files from its worker. Raises `Refused` with the reason when that fails."""
        from jobs.execution import Removal

        job = await self._job("DELETE", "/jobs/{job_id}", job_id=job_id, params={"force": force})
        while True:
            removal = (await self._get(_Removed, "/jobs/{job_id}/removal", job_id=job_id))["removal"]
            if removal["state"] not in ("pending", "running"):
                break
            await asyncio.sleep(LOOK_SECONDS)
        if removal["state"] != "done":
            raise Refused(
                removal["error"] or f"The removal of {job.session} was replaced by a later request."
            )
        return Removal(job.session, removal["bundle"], removal["kept"], tuple(removal["notes"]))

    async def submit(self, new: NewJob) -> tuple[Job, bool]:
        """Return the job that is asked for, queued, and whether it is new. The reconciler launches it."""
        body = {name: getattr(new, name) for name in NewJob.__dataclass_fields__}
        answer = await self._connection.call("POST", "/jobs", body=body)
        return read_job_json(self._connection.read(answer).get("job")), answer.status_code == 201

    async def resume(self, job_id: int) -> Job:
        """Queue a job again that was interrupted, cancelled or failed."""
        return await self._job("POST", "/jobs/{job_id}/resume", job_id=job_id)

    async def find(self, text: str, action: str, repository: str) -> Job:
        """Return the one job that is meant. Raises `NotFound`, or `UsageError` with choices."""
        params = {"target": text, "action": action, "repository": repository}
        return await self._job("GET", "/jobs/find", params=params)

    async def start(self, new: NewJob, actor: str) -> Job:
        """Submit a job, or find the equal one, and queue it again if it was interrupted or cancelled."""
        job, created = await self.submit(new)
        return await self.resume(job.id) if not created and may_resume(job) else job

    async def read_assessment(self, job_id: int) -> str:
        """Return the text that explains a job's verdict; empty when there is none."""
        try:
            answer = await self._connection.call("GET", "/jobs/{job_id}/assessment", job_id=job_id)
        except NotFound:
            return ""
        return answer.content.decode(errors="replace")

    async def list_drafts(self) -> list[DraftJson]:
        """Return the drafts that were neither sent nor dropped."""
        return (await self._get(_Drafts, "/outbox"))["drafts"]

    async def preview_draft(self, number: int) -> tuple[DraftJson, PreviewJson]:
        """Return a draft, and the review exactly as it would appear now."""
        told = await self._connection.get_json("/outbox/{number}/preview", number=number)
        preview = checked(_Previewed, told, f"draft {number}")["draft"]["preview"]
        told["draft"].pop("preview")
        return checked(_Draft, told, f"draft {number}")["draft"], preview

    async def send_draft(self, number: int, digest: str) -> DraftJson:
        """Post a draft, once, as the preview with this digest showed it, after a person's yes."""
        answer = await self._connection.call(
            "POST", "/outbox/{number}/send", number=number, body={"digest": digest}
        )
        return checked(_Draft, self._connection.read(answer), f"draft {number}")["draft"]

    async def drop_draft(self, number: int) -> DraftJson:
        """Drop a draft, so that it is never sent."""
        answer = await self._connection.call("DELETE", "/outbox/{number}", number=number)
        return checked(_Draft, self._connection.read(answer), f"draft {number}")["draft"]

    def page_of(self, job: Job) -> str:
        """Return the address of a job's page."""
        return f"{self._connection.page}/jobs/{job.id}/"

    def commands_for(self, job: Job) -> dict[str, str]:
        """Return the commands to print logs and remove the job, its page, and how to attach by tmux alone."""
        words = shlex.join([shown_target(job), job.action, "--repo", job.repository.slug])
        return {
            "page": self.page_of(job),
            "logs": command(f"logs {words}"),
            "remove": command(f"rm {words}"),
            "manual": json_of(job)["attach"],
        }
