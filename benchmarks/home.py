"""What the dashboard's home costs: `python -m benchmarks.home [--rounds 5] [--json]`.

1,000 pull requests in all groups, most with five jobs, in a database of its own; the page, and the update
that an open page reads when one of its jobs changes. Median seconds of processor time of the server, and
kilobytes of the answer. Targets: the page under 150 KB, an update under 10 KB.
"""

from __future__ import annotations

import os
import re
import statistics
import tempfile
import time

from benchmarks.report import report

PULLS = 1_000
JOBS = ("review", "review:again", "fix", "ready", "review:once-more")
TITLE = "Change number {}: take the discount before the tax"
# The first job of each pull request decides its group; the others have ended.
STATES = ("succeeded", "succeeded", "succeeded", "failed", "running", "queued", "cancelled")


def _seed() -> int:
    """Write the rows; return the number of a job that the page shows and that can change."""
    from jobs.models import Job, PullRequest
    from jobs.states import Attention
    from jobs.transitions import set_attention
    from tests.support.factories import SHA, make_job, make_repository, make_task

    repository = make_repository("acme/tinycart", forge="github", url="https://github.com/acme/tinycart")
    tasks = [make_task(name) for name in ("prepare", "build", "test", "lint", "types", "proof", "verdict")]
    finding = {
        "severity": "error",
        "message": "2 tests fail on the head and pass on the base.",
        "task": "test",
    }
    for number in range(1, PULLS + 1):
        state = STATES[number % len(STATES)] if number % 11 else ""
        for place, words in enumerate(JOBS if state else ()):
            action, _, name = words.partition(":")
            own = "cancelled" if place and state in ("running", "queued", "cancelled") else state
            own = "succeeded" if place and state == "failed" else own
            verdict = ("pass", "needs_work", "fail")[number % 3] if own == "succeeded" else ""
            make_job(
                number=number, repository=repository, action=action, name=name, state=own, verdict=verdict,
                title=TITLE.format(number), tasks=tasks,
                findings=[finding] if verdict == "fail" else [], proof=bool(number % 2) if verdict else None,
            )  # fmt: skip
    PullRequest.objects.bulk_create(
        PullRequest(
            repository=repository, number=number, title=TITLE.format(number),
            author="ada", url=f"https://github.com/acme/tinycart/pull/{number}",
            head_sha=SHA, details_sha=SHA,
            checks=[{"name": "test", "outcome": "failure", "required": True, "url": ""}],
        )
        for number in range(1, PULLS + 1)
    )  # fmt: skip
    job = Job.objects.filter(state="running").latest("id")
    set_attention(job.id, Attention.INPUT)
    return job.id


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Return the seconds and kilobytes of the page and of an update."""
    import django

    with tempfile.TemporaryDirectory(prefix="offload-bench-") as home:
        os.environ.update(OFFLOAD_HOME=home, DJANGO_SETTINGS_MODULE="offload_web.settings")
        django.setup()
        from django.core.management import call_command
        from django.db import connection, transaction
        from django.test import Client

        from jobs.states import Attention
        from jobs.transitions import set_attention
        from offload_web.login import local_user

        call_command("migrate", verbosity=0)
        with transaction.atomic():
            job = _seed()
        client = Client(SERVER_NAME="127.0.0.1")
        client.force_login(local_user())
        seconds: dict[str, list[float]] = {"page": [], "update": []}
        sizes: dict[str, int] = {}
        for round_ in range(rounds + 1):  # the first one compiles the templates
            start = time.process_time()
            page = client.get("/").content
            middle = time.process_time()
            set_attention(job, (Attention.APPROVAL, Attention.INPUT)[round_ % 2])
            between = time.process_time()
            known = ",".join(re.findall(r'data-version="(\w+)"', page.decode()))
            update = client.get("/live/", headers={"HX-Request": "true", "Offload-Rows": known}).content
            seconds["update"].append(time.process_time() - between)
            seconds["page"].append(middle - start)
            sizes = {"page": len(page), "update": len(update)}
        connection.close()
    return {
        name: {"seconds": statistics.median(found[1:]), "kilobytes": sizes[name] / 1000}
        for name, found in seconds.items()
    }


def main() -> None:
    """Measure and print."""
    report(
        __doc__,
        measure,
        lambda n, row: f"{n:<8} {row['seconds']:.3f} s   {row['kilobytes']:.1f} KB",
        rounds=5,
    )


if __name__ == "__main__":
    main()
