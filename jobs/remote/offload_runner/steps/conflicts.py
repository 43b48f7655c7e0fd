"""Whether the head merges with the base as it is now. Nothing is merged: only git's objects are used.

`conflicts.json`: {"schema": "offload-conflicts/1", "clean", "files": [...], "reason", "sha", "base_sha",
"base_ref", "behind"}
"""

from __future__ import annotations

import os
import re
import tempfile
from typing import Dict, List, Optional

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.git.command import Git, shown, split, text
from jobs.remote.offload_runner.protocol import EXIT_NOT_FOUND
from jobs.remote.offload_runner.steps.context import distance
from jobs.remote.offload_runner.steps.record import Job, counted, say


def run(job: Job) -> int:
    """Write `conflicts.json`. Exit code 1 when there are conflicts."""
    if not job.base_sha:
        raise RunnerError("no_base", "There is no base to merge with.", exit_code=EXIT_NOT_FOUND)
    ahead, behind = distance(job)
    files: Optional[List[str]]
    reason = ""
    if not job.git.run("merge-base", job.base_sha, job.sha, check=False).stdout:
        files, reason = None, "the two have no common history"
    elif behind == 0 or ahead == 0:
        files = []
    else:
        files = merged(job.git, job.base_sha, job.sha, job.merge_base)
    clean = files == []
    job.write(
        "conflicts.json",
        {
            "schema": "offload-conflicts/1",
            "clean": clean,
            "files": [shown(name) for name in files or []],
            "reason": reason,
            "sha": job.sha,
            "base_sha": job.base_sha,
            "base_ref": job.prepared.get("base_ref") or "",
            "behind": behind,
        },
    )
    where = "%s at %s" % (job.base_name or "the base", job.base_sha[:10])
    if clean:
        say("%s merges cleanly with %s (%s behind)." % (job.sha[:10], where, counted(behind, "commit")))
        return 0
    say("%s conflicts with %s: %s" % (job.sha[:10], where, reason or counted(len(files or []), "file")))
    for name in files or []:
        say("  %s" % shown(name))
    return 1


def merged(git: Git, base: str, head: str, merge_base: str) -> List[str]:
    """Return the files that conflict when `head` is merged with `base`."""
    done = git.run(
        "merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", base, head, check=False
    )
    if done.exit_code in (0, 1):
        return sorted({text(name) for name in split(done.stdout)[1:] if name})
    if re.search(rb"usage:|not a valid object name|unknown option|unknown rev", done.stderr):
        return merged_by_index(git, base, head, merge_base)  # git before 2.38
    raise RunnerError("git_failed", "Merging %s with %s failed: %s." % (head[:10], base[:10], done.reason))


def merged_by_index(git: Git, base: str, head: str, merge_base: str) -> List[str]:
    """Do the same with a three-way read-tree, for an old git. Renames are not followed."""
    with tempfile.TemporaryDirectory(prefix="offload-merge-") as scratch:
        env = {"GIT_INDEX_FILE": os.path.join(scratch, "index")}
        git.run("read-tree", "-i", "-m", "--aggressive", merge_base, base, head, env=env)
        stages: Dict[str, Dict[int, List[str]]] = {}
        for line in split(git.run("ls-files", "--unmerged", "-z", env=env).stdout):
            about, _, name = line.partition(b"\t")
            mode, sha, stage = about.decode("ascii").split()
            stages.setdefault(text(name), {})[int(stage)] = [mode, sha]
        return sorted(name for name, found in stages.items() if not _text_merges(git, found, scratch))


def _text_merges(git: Git, stages: Dict[int, List[str]], scratch: str) -> bool:
    if set(stages) != {1, 2, 3} or any(not mode.startswith("100") for mode, _ in stages.values()):
        return False
    names = []
    for stage in (2, 1, 3):
        names.append(os.path.join(scratch, str(stage)))
        with open(names[-1], "wb") as file:
            file.write(git.out("cat-file", "blob", stages[stage][1]))
    return git.run("merge-file", "-p", "-q", *names, check=False).exit_code == 0
