"""Why a change removes tests: it takes back an earlier commit, or removes the code that they test."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Sequence, Set

from jobs.remote.offload_runner.git.command import split, text
from jobs.remote.offload_runner.steps import sources
from jobs.remote.offload_runner.steps.record import Job
from jobs.remote.offload_runner.steps.trees import source

_MOST_COMMITS = 40
_MOST_PATHS = 50
_MOST_FILES = 50
_MOST_BYTES = 4 * 1024 * 1024  # of a diff
_DEFINED = re.compile(
    r"\b(?:def|class|function\*?|func(?:[ \t]+\([^()\n]{0,200}\))?|fn|fun|struct|enum|trait)[ \t]+(\w{2,100})"
    r"|\b(?:exports\.|(?:const|let|var)[ \t]+)(\w{2,100})[ \t]*="
    r"|^[ \t]+(?:(?:public|protected|private|static|final|async)[ \t]+){0,4}(?:[\w<>\[\], ]{1,100}[ \t])?"
    r"(\w{2,100})\([^()\n]{0,300}\)[ \t]*\{[ \t]*$",
    re.MULTILINE,
)
_KEYWORDS = {"if", "for", "while", "switch", "catch", "constructor", "function", "return", "else", "new"}


def reverted(job: Job) -> str:
    """Return the commit that the change takes back exactly, of those before it; "" when there is none."""
    paths = {str(one[key]) for one in job.changed for key in ("path", "old_path") if one.get(key)}
    if not job.merge_base or not 0 < len(paths) <= _MOST_PATHS:
        return ""
    git = job.git
    log = ("log", "--format=%H", "-n", str(_MOST_COMMITS), job.merge_base)
    listed = git.out(*log, "--", *sorted(paths))
    own = b""
    for commit in listed.decode("ascii").split():
        parent = git.commit(commit + "^")
        if not parent:
            continue
        names = git.out("diff-tree", "-r", "-z", "--no-renames", "--name-only", parent, commit)
        if {text(name) for name in split(names)} != paths:
            continue
        own = own or _patch(job, job.sha, job.merge_base)
        if own and _patch(job, parent, commit) == own:
            return commit
    return ""


def _patch(job: Job, old: str, new: str) -> bytes:
    """Return what differs between two commits, wherever in the files it is; b"" when it is too large."""
    done = job.git.run(
        "diff-tree", "-p", "--binary", "--no-renames", "--no-ext-diff", "--no-textconv", old, new,
        limit=_MOST_BYTES, cut=True,
    )  # fmt: skip
    lines = done.stdout.split(b"\n") if not done.is_cut else []
    return b"\n".join(line for line in lines if not line.startswith((b"@@ ", b"index ")))


def with_code(
    job: Job, weakened: Sequence[Mapping[str, Any]], tests: Sequence["tuple[str, str, str]"]
) -> List[Dict[str, Any]]:
    """Return the entries of `sources.weakened`; those of removed tests have `code`, what goes with them.

    `tests` are the changed test files: path, text at the base and at the head. A change that defines
    anything new in its source files has rather renamed the code: then there is no `code`.
    """
    found = [dict(item) for item in weakened]
    removed = [item for item in found if item["kind"] == "removed"]
    gone = _gone(job) if removed else set()
    texts = {path: old for path, old, _ in tests}
    for item in removed:
        bodies = sources.test_bodies(item["file"], texts.get(item["file"], ""))
        used = [gone & set(re.findall(r"\w{2,100}", bodies.get(name, ""))) for name in item["tests"]]
        item["code"] = sorted(set().union(*used)) if used and all(used) else []
    return found


def _gone(job: Job) -> Set[str]:
    """Return the names that the source files define at the base and not at the head."""
    files = [one for one in job.changed if sources.is_source(str(one["path"])) and not one["binary"]]
    before: Set[str] = set()
    after: Set[str] = set()
    if len(files) > _MOST_FILES:
        return set()
    for one in files:
        if one["status"] != "A":
            before |= _names(job, job.merge_base, str(one["old_path"] or one["path"]))
        if one["status"] != "D":
            after |= _names(job, job.sha, str(one["path"]))
    return before - after if after <= before else set()


def _names(job: Job, sha: str, path: str) -> Set[str]:
    read = (source(job, sha, path) or b"").decode("utf-8", "replace")
    found = {name for names in _DEFINED.findall(read) for name in names if name}
    return {name for name in found if name not in _KEYWORDS}


__all__ = ["reverted", "with_code"]
