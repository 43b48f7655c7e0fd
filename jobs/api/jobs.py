"""Jobs: list, one, and what a job leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Schema
from ninja.responses import Status
from pydantic import Field, StringConstraints

from jobs import execution
from jobs.api.access import caller_of, needs
from jobs.api.answers import (
    EventsAnswer,
    Id,
    JobAnswer,
    JobsAnswer,
    Limit,
    Name,
    RemovalAnswer,
    StatusAnswer,
    Text,
)
from jobs.errors import NotFound, Refused
from jobs.models import Job, JobEvent
from jobs.operations import (
    JobFilter,
    NewJob,
    find_named_job,
    read_events,
    read_job,
    read_jobs,
    read_removal,
    read_status,
    submit_job,
    wait_until_ended,
)
from jobs.serializers import (
    SCHEMA,
    account_json,
    event_json,
    job_cost_json,
    job_json,
    pull_json,
    removal_json,
    utc,
)
from jobs.states import JobState, Scope

router = Router(tags=["jobs"])
Row = TypeVar("Row", Job, JobEvent)
READ = needs(Scope.READ)
LAUNCH = needs(Scope.LAUNCH)
PART_BYTES = 4 * 1024 * 1024
_TEXT: dict[str, Any] = {
    "responses": {200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "OK"}}
}


def _page(rows: Sequence[Row], limit: int) -> tuple[Sequence[Row], int | None]:
    """Return the page of at most `limit` of one row more, and its last id when there is another page."""
    page = rows[:limit]
    return page, page[-1].id if len(rows) > limit else None


class JobQuery(Schema):
    """Which jobs to list."""

    repository: Text = Field("", description="Slug, short name or URL.")
    state: list[JobState] = Field([], description="Repeat it for several states.")
    action: Name = ""
    worker: Name = ""
    verdict: Literal["pass", "needs_work", "fail"] | None = None
    removed: bool = Field(False, description="The removed jobs instead.")
    limit: Limit = 50
    before: Id = Field(0, description="The `next` of the page before.")


class NameQuery(Schema):
    """The job that is meant, as a person names it."""

    target: Text = Field(
        min_length=1, description="123, 123:name, owner/repo#123, an address, a branch, or a session's name."
    )
    action: Name = ""
    repository: Text = Field("", description="Slug, short name or address; empty: any.")


class WaitQuery(Schema):
    """How long to wait."""

    seconds: float = Field(30, ge=0, le=60, allow_inf_nan=False)


class ScreenQuery(Schema):
    """How much of a session to show."""

    lines: int = Field(200, ge=1, le=50_000, description="Lines of history above the screen.")


class EventQuery(Schema):
    """Which events to list."""

    after: Id = Field(0, description="The `next` of the page before.")
    limit: Limit = 100


class LogQuery(Schema):
    """Which bytes of a log to return."""

    offset: Id = Field(0, description="The first byte.")
    limit: int = Field(PART_BYTES // 4, ge=1, le=PART_BYTES, description="At most so many bytes.")


class DiffQuery(Schema):
    """What to return of a change."""

    stat: bool = Field(False, description="File names and counts only.")
    limit: int = Field(PART_BYTES, ge=1, le=PART_BYTES, description="At most so many bytes.")


class NewJobBody(Schema):
    """The job to submit. `repository`: empty takes that of the target, then the configured one."""

    target: Text = Field(
        min_length=1, description="123, owner/repo#123, the URL of a pull request, or a branch."
    )
    action: Name = "review"
    repository: Text = Field("", description="URL or owner/repo.")
    name: Name = Field("", description="Tells several jobs of one target and action apart.")
    worker: Name = Field("", description="Empty: one of the pool; without a pool, the configured one.")
    pool: Name = Field("", description="Any worker of this pool. Empty: as configured for the repository.")
    agent: Name = ""
    prompt: Annotated[str, StringConstraints(max_length=20_000, pattern=r"^[^\x00]*$")] = ""
    base: Name = ""
    rounds: int = Field(0, ge=0, le=10, description="Of a fix or an implementation, at most. 0: as usual.")


class AnswerBody(Schema):
    """What is typed to an agent. `text`: what to send, or why it is denied."""

    answer: Literal["send", "approve", "deny"]
    text: Annotated[
        str,
        StringConstraints(max_length=65_536, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]*$"),
    ] = ""
    about: Text = Field("", description="The question as you saw it; another one is not answered.")


class ForceQuery(Schema):
    """Whether a safety rule is overruled."""

    force: bool = Field(False, description="Also when it runs, or has work that exists nowhere else.")


def job_answer(job: Job) -> JobAnswer:
    """Return a job in its envelope."""
    return {"schema": SCHEMA, "job": job_json(job)}


def text_answer(data: bytes, kind: str = "text/plain", **headers: str) -> HttpResponse:
    """Return bytes that a job wrote. A browser shows them as text, never as a page."""
    return HttpResponse(
        data,
        content_type=f"{kind}; charset=utf-8",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


@router.get("", auth=READ, response={200: JobsAnswer}, summary="List jobs")
async def list_jobs(request: HttpRequest, query: Query[JobQuery]) -> JobsAnswer:
    """Return jobs as last observed, newest first."""
    wanted = JobFilter(
        repository=query.repository, states=tuple(query.state), limit=query.limit + 1, action=query.action,
        worker=query.worker, verdict=query.verdict or "", removed=query.removed, before=query.before,
    )  # fmt: skip
    page, following = _page(await read_jobs(wanted), query.limit)
    return {"schema": SCHEMA, "jobs": [job_json(job) for job in page], "next": following}


@router.get("/find", auth=READ, response={200: JobAnswer}, summary="Find a job by its target")
async def find(request: HttpRequest, query: Query[NameQuery]) -> JobAnswer:
    """Return the one job that is meant, as last observed; 400 lists the choices when several are."""
    return job_answer(await find_named_job(query.target, query.action, query.repository))


@router.get("/{int:job_id}", auth=READ, response={200: JobAnswer}, summary="One job")
async def get_job(request: HttpRequest, job_id: Id) -> JobAnswer:
    """Return a job as last observed."""
    return job_answer(await read_job(job_id))


@router.get("/{int:job_id}/status", auth=READ, response={200: StatusAnswer}, summary="All about a job")
async def get_status(request: HttpRequest, job_id: Id) -> StatusAnswer:
    """Return a job as last observed with its cost, and its pull request as read within a minute."""
    warnings: list[str] = []
    status = await read_status(job_id, warnings.append)
    pull = pull_json(status.pull.row, status.pull.blocks, status.pull.unknown) if status.pull else None
    return {
        "schema": SCHEMA,
        "job": job_json(status.job),
        "cost": job_cost_json(status.cost),
        "pull_request": pull,
        "why": account_json(status.account, utc(status.job.observed_at)),
        "warnings": warnings,
    }


@router.get("/{int:job_id}/wait", auth=READ, response={200: JobAnswer}, summary="Wait for the end of a job")
async def wait(request: HttpRequest, job_id: Id, query: Query[WaitQuery]) -> JobAnswer:
    """Return a job as soon as it has ended, or as it is after `seconds`; ask again then."""
    return job_answer(await wait_until_ended(job_id, query.seconds))


@router.get(
    "/{int:job_id}/screen",
    auth=READ,
    response={200: None},
    openapi_extra=_TEXT,
    summary="The screen of a session",
)
async def get_screen(request: HttpRequest, job_id: Id, query: Query[ScreenQuery]) -> HttpResponse:
    """Return the text on the screen of the job's session, with the last lines above it."""
    return text_answer((await execution.peek(job_id, lines=query.lines)).encode())


@router.get(
    "/{int:job_id}/removal",
    auth=READ,
    response={200: RemovalAnswer},
    summary="What came of a request to remove a job",
)
async def get_removal(request: HttpRequest, job_id: Id) -> RemovalAnswer:
    """Return the last request to remove a job: `done` or `failed`, with what was kept or why."""
    last, removed = await read_removal(job_id)
    return {"schema": SCHEMA, "removal": removal_json(last, removed) if last is not None else None}


@router.get("/{int:job_id}/events", auth=READ, response={200: EventsAnswer}, summary="The events of a job")
async def list_events(request: HttpRequest, job_id: Id, query: Query[EventQuery]) -> EventsAnswer:
    """Return the events of a job, oldest first."""
    await read_job(job_id)
    events = await read_events(job_id=job_id, after=query.after, limit=query.limit + 1)
    page, following = _page(events, query.limit)
    return {"schema": SCHEMA, "events": [event_json(event) for event in page], "next": following}


@router.get(
    "/{int:job_id}/tasks/{task}/log",
    auth=READ,
    response={200: None},
    openapi_extra=_TEXT,
    summary="A part of the log of a task",
)
async def get_log(request: HttpRequest, job_id: Id, task: Name, query: Query[LogQuery]) -> HttpResponse:
    """Return a range of bytes of a log; empty at its end. `Offload-Next-Offset` is where to go on."""
    known = [item["id"] for item in (await read_job(job_id)).tasks]
    if task not in known:
        raise NotFound(
            f"Job {job_id} has no task {task!r}.", hint=f"Its tasks: {', '.join(known) or 'none yet'}."
        )
    data = await execution.read_log(job_id, task, query.offset, query.limit)
    return text_answer(data, Offload_Next_Offset=str(query.offset + len(data)))


@router.get(
    "/{int:job_id}/diff",
    auth=READ,
    response={200: None},
    openapi_extra=_TEXT,
    summary="The change under review",
)
async def get_diff(request: HttpRequest, job_id: Id, query: Query[DiffQuery]) -> HttpResponse:
    """Return what `git diff` prints; the header `Offload-Cut` says whether there is more than `limit`."""
    data = await execution.diff(job_id, stat=query.stat, limit=query.limit + 1)
    cut = "yes" if len(data) > query.limit else "no"
    return text_answer(data[: query.limit], Offload_Cut=cut)


@router.get(
    "/{int:job_id}/assessment",
    auth=READ,
    response={200: None},
    openapi_extra={"responses": {200: {"content": {"text/markdown": {"schema": {"type": "string"}}}}}},
    summary="The assessment of a job",
)
async def get_assessment(request: HttpRequest, job_id: Id) -> HttpResponse:
    """Return the text that explains the verdict, as Markdown."""
    job = await read_job(job_id)
    if not job.assessment:
        raise NotFound(
            f"{job.session} has no assessment: it is {job.state}.", hint="Wait until it has ended."
        )
    return text_answer(job.assessment.encode(), "text/markdown")


@router.post("", auth=LAUNCH, response={200: JobAnswer, 201: JobAnswer}, summary="Submit a job")
async def submit(request: HttpRequest, body: NewJobBody) -> Status[JobAnswer]:
    """Submit a job; the dashboard's reconciler launches it. 200: an equal job exists and is returned."""
    job, created = await submit_job(NewJob(**body.dict()), caller_of(request).name)
    return Status(201 if created else 200, job_answer(await read_job(job.id)))


@router.post("/{int:job_id}/cancel", auth=LAUNCH, response={202: JobAnswer}, summary="Cancel a job")
async def cancel(request: HttpRequest, job_id: Id) -> Status[JobAnswer]:
    """Request that a job is cancelled; its state shows how far that is."""
    return Status(202, job_answer(await execution.request_cancel(job_id, caller_of(request).name)))


@router.post("/{int:job_id}/answer", auth=LAUNCH, response={200: JobAnswer}, summary="Answer an agent")
async def answer(request: HttpRequest, job_id: Id, body: AnswerBody) -> JobAnswer:
    """Type to the agent that waits in the job's pane; 409 says what it does instead of waiting."""
    name = caller_of(request).name
    job = await execution.answer_agent(job_id, body.answer, body.text, name, about=body.about)
    return job_answer(job)


@router.post("/{int:job_id}/resume", auth=LAUNCH, response={202: JobAnswer}, summary="Resume a job")
async def resume(request: HttpRequest, job_id: Id) -> Status[JobAnswer]:
    """Queue an interrupted, failed or cancelled job again, at its first unfinished task."""
    job = await read_job(job_id)
    if not await execution.resume(job_id, caller_of(request).name):
        raise Refused(f"{job.session} cannot be resumed: it is {job.state}.")
    return Status(202, job_answer(await read_job(job_id)))


@router.delete(
    "/{int:job_id}", auth=LAUNCH, response={202: JobAnswer}, summary="Remove a job from its worker"
)
async def remove(request: HttpRequest, job_id: Id, query: Query[ForceQuery]) -> Status[JobAnswer]:
    """Request that session and worktree are removed; record, log and assessment stay.

    Work that exists nowhere else fails the request later, unless `force` is set: it is bundled first then.
    """
    await execution.request_removal(job_id, caller_of(request).name, force=query.force)
    return Status(202, job_answer(await read_job(job_id)))
