"""`offload status [TARGET]`: show one job in full, and how its state is known."""

from __future__ import annotations

from jobs import execution
from jobs.cli.fleet.machine_output import describe_job, job_cost
from jobs.cli.output import (
    plain,
    print_commands,
    print_job,
    print_job_json,
    print_outcome,
    print_tasks,
    say,
)
from jobs.cli.request import Request
from jobs.formats import format_age
from jobs.models import Job
from jobs.operations import observe_jobs
from jobs.serializers import job_cost_json
from jobs.states import JobState, Reason


async def run(request: Request) -> int:
    """Show the job. (`offload status` without a target runs `ls`.)"""
    job = await request.job()
    job = (await observe_jobs(execution.find_jobs().filter(id=job.id), say))[0]
    cost = await job_cost(job)
    if request.json:
        print_job_json(job, cost=job_cost_json(cost))
        return 0
    print_job(job)
    print(f"  {job.session}: {job.reason_text}")
    print(f"  {_source(job)}")
    if job.options.get("placement"):
        print(f"  {plain(job.options['placement'])}")
    for line in describe_job(job, cost):
        print(f"  {plain(line)}")
    print_tasks(job)
    if job.verdict:
        print_outcome(job)
    print_commands(job)
    return 0


def _source(job: Job) -> str:
    """Return the sentence that names the source of the state and its age."""
    if job.removed_at is not None:
        return f"Removed from {job.worker} {format_age(job.removed_at)}; its logs are in the archive."
    if job.state == JobState.INTERRUPTED and job.reason == Reason.WORKER_LOST:
        return f"Known from the provider of {job.worker}, which was asked {format_age(job.finished_at)}."
    if job.observed_at is None:
        return f"Known from the database; {job.worker} has not been asked about it yet."
    journal = f"the journal on {job.worker} (event {job.journal_seq})"
    return f"Known from {journal}, last read {format_age(job.observed_at)}."
