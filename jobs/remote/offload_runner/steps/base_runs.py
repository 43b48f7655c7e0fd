"""Runs of the base that are kept for the next change of the same base.

A kept run only ever excuses a change: it counts when each test that fails on the head failed in it as well.
When it cannot explain them all, the base is run again: meanwhile a new release of a dependency may have
broken both, and no change is to be blamed for that.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence

from jobs.remote.offload_runner.files.paths import read_json, write_json
from jobs.remote.offload_runner.steps.difference import compare
from jobs.remote.offload_runner.steps.record import Job
from jobs.remote.offload_runner.steps.results import Results
from jobs.remote.offload_runner.steps.trees import Run

_SCHEMA = "offload-base-run/1"
_SECONDS = 14 * 24 * 3600.0
_MOST_BYTES = 8 * 1024 * 1024


def find(job: Job, told: Mapping[str, Any], check: Mapping[str, Any], head: Results) -> Optional[Run]:
    """Return a kept run of a check (an entry of the plan) that explains what fails on the head."""
    path = _path(job, told, check)
    if path is None or check["role"] != "test" or not head.known:
        return None
    kept = read_json(path)
    if not isinstance(kept, dict) or kept.get("schema") != _SCHEMA or time.time() - kept["at"] > _SECONDS:
        return None
    run = Run.from_json(kept["run"])
    found = compare(head, run.results)
    explains = run.results.complete and not found.to_blame and not found.not_run
    return run if explains and found.already_failing else None


def keep(job: Job, told: Mapping[str, Any], check: Mapping[str, Any], run: Run) -> None:
    """Keep a run of a check on the base, when its tests are known; drop those that are too old."""
    path = _path(job, told, check)
    if path is None or check["role"] != "test" or not run.results.known or run.timed_out:
        return
    data: Dict[str, Any] = {"schema": _SCHEMA, "at": time.time(), "run": run.to_json()}
    if len(json.dumps(data)) > _MOST_BYTES:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in os.scandir(str(path.parent)):
        if time.time() - old.stat(follow_symlinks=False).st_mtime > _SECONDS:
            os.unlink(old.path)
    write_json(path, data)


def _path(job: Job, told: Mapping[str, Any], check: Mapping[str, Any]) -> Optional[Path]:
    """Return where runs of a check are kept; None where code of a job could write there."""
    image = str(told.get("image") or "")
    if not job.is_isolated or not image:
        return None
    words: Sequence[Any] = (
        job.prepared["repository"],
        job.merge_base,
        image,
        told.get("setup"),
        check["shell"],
        check.get("results"),
    )
    name = hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()
    return job.paths.root / "base" / "runs" / (name + ".json")
