"""Evidence that follows a test: the tree is brought back to its commit, and to what was installed and built.

`tree.json` in the job's directory, where no job's code writes, says since when tests may have changed the
tree (`made`, a mark of `git.reset`); `altered.json` collects the files of the commit that they changed.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional

from jobs.remote.offload_runner.engine.job_command import run_as_job
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import paths
from jobs.remote.offload_runner.files.paths import JOB
from jobs.remote.offload_runner.git import reset
from jobs.remote.offload_runner.git.command import LOCAL_SECONDS, shown
from jobs.remote.offload_runner.protocol import EXIT_SOFTWARE
from jobs.remote.offload_runner.steps.record import Job, say
from jobs.remote.offload_runner.wire import runner_argv

_MOST = 1000
_LIMIT = 4 * 1024 * 1024


@contextlib.contextmanager
def restored_head(job: Job) -> Iterator[None]:
    """Have the head's tree as it was before its tests ran; what they left is back afterwards."""
    found = restore(job, job.paths.worktree, _since(job), JOB)
    _note(job, found["altered"])
    try:
        yield
    finally:
        if found["aside"]:
            _ask(job, JOB, {"what": "give_back", "tree": str(job.paths.worktree)})


def look_at_head(job: Job) -> None:
    """Note which files of the commit the tests changed, and leave them so."""
    try:
        _note(job, restore(job, job.paths.worktree, _since(job), JOB, look=True)["altered"])
    except RunnerError as error:
        say("It is unknown whether tests changed files of the commit: %s" % error.message)


def mark(job: Job, tree: Path) -> Mapping[str, Any]:
    """Return what `restore` brings a tree back to: how it is now. Raises `RunnerError`."""
    try:
        return reset.mark(tree, job.paths.job_dir)
    except OSError as error:
        raise _failed(job, str(error)) from error


def restore(
    job: Job, tree: Path, made: Mapping[str, Any], place: str, *, look: bool = False, commit: str = ""
) -> Dict[str, Any]:
    """Bring a tree back to a commit (default: the head's) as it was at the mark `made`; see `git.reset`.

    Raises `RunnerError`: it may be that the job made that impossible.
    """
    mirror = paths.mirror(job.paths.root, str(job.prepared["repository"]))
    with contextlib.suppress(OSError):  # a directory that cannot be read: its owner may change that
        seen = reset.changed(tree, mirror, commit or job.sha, made)
        if not seen.tracked and (look or not seen.added):
            return {"altered": [], "aside": 0}
    what = "look" if look else "reset"
    spec = {"what": what, "tree": str(tree), "mirror": str(mirror), "commit": commit or job.sha, "made": made}
    answer = _ask(job, place, spec)
    try:
        altered = [shown(str(path)) for path in answer["altered"][:_MOST]]
        return {"altered": altered, "aside": int(answer["aside"])}
    except (KeyError, TypeError, ValueError):
        raise _failed(job, "its answer is not as expected") from None


def altered_files(job: Job) -> List[str]:
    """Return the files of the commit that tests were seen to have changed."""
    found = job.read("altered.json")
    return list(found["files"]) if isinstance(found, dict) and found.get("sha") == job.sha else []


def _since(job: Job) -> Mapping[str, Any]:
    found = job.read("tree.json")
    if isinstance(found, dict) and found.get("sha") == job.sha:
        if not found["made"]:
            raise _failed(job, "it could not be read when the tests began")
        return dict(found["made"])
    made = mark(job, job.paths.worktree)  # no test has run yet
    job.write("tree.json", {"sha": job.sha, "made": made})
    return made


def _note(job: Job, altered: List[str]) -> None:
    known = altered_files(job)
    fresh = [path for path in altered if path not in known]
    if fresh:
        say("Tests changed %s." % ", ".join(fresh[:5]))
        job.write("altered.json", {"sha": job.sha, "files": [*known, *fresh][:_MOST]})


def _ask(job: Job, place: str, spec: Dict[str, Any]) -> Dict[str, Any]:
    said = bytearray()

    def hear(data: bytes) -> None:
        said.extend(data[: _LIMIT - len(said)])

    argv = [*runner_argv(job.paths.root), "reset"]
    given = json.dumps(spec).encode("ascii")
    code = run_as_job(
        job.paths,
        argv,
        cwd=job.paths.root,
        env={},
        timeout=LOCAL_SECONDS,
        output=hear,
        given=given,
        place=place,
    )
    answer: Optional[Any] = None
    with contextlib.suppress(ValueError, RecursionError):
        answer = json.loads(bytes(said)) if code == 0 else None
    if not isinstance(answer, dict):
        lines = bytes(said).decode("utf-8", "replace").strip().splitlines()
        raise _failed(job, shown(lines[-1][:300]) if lines else "exit code %d" % code)
    return answer


def _failed(job: Job, why: str) -> RunnerError:
    return RunnerError(
        "tree_not_reset",
        "Bringing the worktree of %s back to its commit failed: %s." % (job.paths.session, why.rstrip(".")),
        "A test may have made that impossible; what follows it would be no evidence.",
        EXIT_SOFTWARE,
    )


__all__ = ["altered_files", "look_at_head", "mark", "restore", "restored_head"]
