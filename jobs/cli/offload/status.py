"""`offload status [TARGET]`: show one job in full, and how its state is known."""

from __future__ import annotations

from jobs.cli.fleet.machine_output import describe_job
from jobs.cli.local_time import local_zone
from jobs.cli.output import (
    plain,
    print_commands,
    print_job,
    print_job_json,
    print_json,
    print_outcome,
    print_pull,
    print_tasks,
    say,
)
from jobs.cli.request import Request
from jobs.client import get_client, is_remote
from jobs.errors import NotConfigured, NotFound
from jobs.execution import Account
from jobs.forges.target import Target
from jobs.formats import format_age, format_until
from jobs.invocation import command
from jobs.models import Job
from jobs.operations import ObservedPull, observe_pull
from jobs.serializers import account_json, agent_key_text, isolation_text, job_cost_json, pull_json, utc
from jobs.states import JobState, Reason


async def run(request: Request) -> int:
    """Show the job. (`offload status` without a target runs `ls`.)"""
    try:
        job = await request.job()
    except NotFound:
        target = request.target()
        known_here = target.kind == "pull" and not is_remote()
        pull = await _find_pull(request, target) if known_here else None
        if pull is None:
            raise
        if request.json:
            print_json("pull_request", pull_json(pull.row, pull.blocks, pull.unknown))
        else:
            print_pull(pull)
            print(f"No job is about it. Start one: {command(f'{target.number} review')}")
        return 0
    status = await get_client().read_status(job, say)
    job, cost, pull = status.job, status.cost, status.pull
    if request.json:
        shown = pull_json(pull.row, pull.blocks, pull.unknown) if pull else None
        more = {"why": account_json(status.account, utc(job.observed_at))} if request.why else {}
        print_job_json(job, cost=job_cost_json(cost), pull_request=shown, **more)
        return 0
    if pull is not None:
        print_pull(pull)
    print_job(job)
    print(f"  {job.session}: {job.reason_text}")
    print(f"  {_source(job)}")
    if job.options.get("placement"):
        print(f"  {plain(job.options['placement'])}")
    for text in (isolation_text(job), agent_key_text(job)):
        if text:
            print(f"  {plain(text)}")
    for line in describe_job(job, cost):
        print(f"  {plain(line)}")
    if request.why:
        for line in _why(status.account):
            print(f"  {plain(line)}")
    print_tasks(job)
    if job.verdict:
        print_outcome(job)
    print_commands(job)
    return 0


async def _find_pull(request: Request, target: Target) -> ObservedPull | None:
    """Return the pull request that a target without a job names; None when no repository is known."""
    try:
        repository = await request.repository(target)
    except NotConfigured:
        return None
    return await observe_pull(repository, target.number, say)


def _why(account: Account) -> list[str]:
    """Return the lines that say what is known, from where, and since when."""
    lines = []
    for name, known in (("state", account.state), ("attention", account.attention), ("agent", account.agent)):
        if known is None:
            continue
        value = " ".join(filter(None, [known.value.replace("_", " "), known.detail and f"({known.detail})"]))
        until = f", {format_until(known.until, local_zone())}" if known.until else ""
        since = f", {format_age(known.since)}" if known.since else ""
        lines.append(f"{name}: {value}{until}. Known from {known.source}{since}.")
        lines += [f"    {known.evidence}"] if known.evidence else []
    return [*lines, account.no_input] if account.agent is not None else lines


def _source(job: Job) -> str:
    """Return the sentence that names the source of the state and its age."""
    if is_remote():
        seen = f"read it {format_age(job.observed_at)}" if job.observed_at else "has not read it yet"
        return f"Known from {get_client().server}, which {seen}."
    if job.removed_at is not None:
        return f"Removed from {job.worker} {format_age(job.removed_at)}; its logs are in the archive."
    if job.state == JobState.INTERRUPTED and job.reason == Reason.WORKER_LOST:
        return f"Known from the provider of {job.worker}, which was asked {format_age(job.finished_at)}."
    if job.observed_at is None:
        return f"Known from the database; {job.worker} has not been asked about it yet."
    journal = f"the journal on {job.worker} (event {job.journal_seq})"
    return f"Known from {journal}, last read {format_age(job.observed_at)}."
