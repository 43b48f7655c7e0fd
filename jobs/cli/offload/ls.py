"""`offload ls`: list the jobs that need you, that run, and that have ended."""

from __future__ import annotations

from jobs import execution
from jobs.cli.output import colour, needs_you, print_commands, print_job, print_job_list_json, say
from jobs.cli.request import Request
from jobs.invocation import command
from jobs.operations.observe import observe_jobs


async def run(request: Request) -> int:
    """List the jobs."""
    jobs = await observe_jobs(execution.find_jobs().filter(removed_at__isnull=True), say)
    groups = (
        ("Needs you", [job for job in jobs if needs_you(job)]),
        ("Running", [job for job in jobs if job.is_active and not needs_you(job)]),
        ("Ended", [job for job in jobs if job.has_ended and not needs_you(job)]),
    )
    if request.json:
        print_job_list_json([job for _, members in groups for job in members])
        return 0
    if not jobs:
        print(f"There are no jobs. Start one: {command('123 review')}")
    blank = ""
    for title, members in groups:
        if members:
            print(f"{blank}{colour(f'{title} ({len(members)})', 'bold')}")
            blank = "\n"
        for job in members:
            print_job(job)
            print_commands(job)
    return 0
