"""The base's tree is made, installed and built while the head's is: for the proof and for comparisons."""

from __future__ import annotations

from jobs.remote.offload_runner.steps.record import Job, say
from jobs.remote.offload_runner.steps.trees import ready_base


def run(job: Job) -> int:
    """Prepare the base's tree. Exit code 0, also when it cannot be built: `base.json` says so."""
    task = next(task for task in job.plan["tasks"] if task["role"] == "base")
    ready_base(job, task["outputs"].get("setup") or [])
    say("The base is at %s, where the change starts from." % job.merge_base[:10])
    return 0
