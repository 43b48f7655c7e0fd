"""Commits that were sent with the request, because the worker cannot reach the repository.

`look_up` is the half that runs on the local computer, where the repository is; the rest runs here, on the
mirror. The request's `carried` is
`{"refs": {name: commit}, "head": name, "shallow": [commits], "file": path or ""}`.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import paths
from jobs.remote.offload_runner.git import fetch
from jobs.remote.offload_runner.git.base import candidates
from jobs.remote.offload_runner.git.base import choose as choose_base
from jobs.remote.offload_runner.git.command import FETCH_SECONDS, Completed, Git, no_space, out_of_space
from jobs.remote.offload_runner.git.fetch import Remote, RemoteRefs
from jobs.remote.offload_runner.git.mirror import Mirror
from jobs.remote.offload_runner.protocol import EXIT_NOT_FOUND, EXIT_UNAVAILABLE, EXIT_USAGE


def look_up(source: Path, spec: Mapping[str, Any]) -> Dict[str, Any]:
    """Return `carried` without its file; `head_ref` and `base_ref`, full names or commits; `base_because`.

    Raises `RunnerError` for a ref that is not there, or a path that is no repository.
    """
    there = Remote(url=str(source), slug=str(spec["repository"]["slug"]))
    ref = str((spec.get("head") or {}).get("ref") or "HEAD")
    base = str((spec.get("base") or {}).get("ref") or "")
    because = str((spec.get("base") or {}).get("because") or "")
    fetch.check_ref(ref)
    fetch.check_ref(base)
    refs = fetch.ask(Path("/"), there, [ref, base])
    needs_base = bool(spec.get("needs_base", True))
    git = Git(str(source), is_ours=False)
    asked = base
    name, base = find(Path("/"), there, refs, ref, base, needs_base)
    if not name:
        raise fetch.not_found(Path("/"), there, ref)
    if not asked and needs_base:
        possible = candidates(refs, name, str((spec.get("base") or {}).get("said") or ""))
        merge = git.commit(refs.refs[possible.merge]) if possible.merge else ""
        head = git.commit(name if fetch.is_sha(name) else refs.refs[name])
        if possible.branches and head:
            branches = {each: refs.refs[each] for each in possible.branches}
            base, because = choose_base(git, refs, head, merge, branches, possible.because)
    found = {}
    for each in {name, base} - {""}:
        sha = git.commit(each) if fetch.is_sha(each) else refs.refs[each]
        if not sha:
            raise fetch.not_found(Path("/"), there, each)
        found[each] = sha
    return {
        "refs": found,
        "head": refs.head if refs.head in found else "",
        "head_ref": name,
        "base_ref": base,
        "base_because": because,
        "shallow": _shallow(git, source),
    }


def find(
    root: Path, source: Remote, refs: RemoteRefs, ref: str, base: str, needs_base: bool
) -> Tuple[str, str]:
    """Return the full names of head and base; the head is "" when it is not there. Commits stay."""
    name = ref if fetch.is_sha(ref) else refs.find(ref)
    if not name:
        return "", ""
    found = refs.find(base) if base else refs.default_base(name)
    if base and fetch.is_sha(base):
        found = base
    if not found and base and needs_base:
        raise fetch.not_found(root, source, base)
    return name, found


def _shallow(git: Git, source: Path) -> List[str]:
    """Return the commits below which a shallow clone has nothing."""
    if git.line("rev-parse", "--is-shallow-repository") != "true":
        return []
    file = git.line("rev-parse", "--git-path", "shallow")
    return Path(os.path.join(str(source), file)).read_text(encoding="ascii").split()


def read(root: Path, session: str, spec: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    """Return what was sent with a request, checked; None when nothing was. Raises `RunnerError` (`usage`)."""
    sent = spec.get("carried")
    if sent is None:
        return None
    try:
        refs = {str(name): str(sha) for name, sha in sent["refs"].items()}
        shallow = [str(sha) for sha in sent.get("shallow") or []]
        file, head = str(sent.get("file") or ""), str(sent.get("head") or "")
    except (KeyError, TypeError, AttributeError) as exc:
        raise RunnerError("usage", "What was sent is not described: %s." % exc, exit_code=EXIT_USAGE) from exc
    for name in refs:
        fetch.check_ref(name)
    if not all(fetch.is_sha(sha) for sha in [*refs.values(), *shallow]):
        raise RunnerError("usage", "What was sent names things that are no commits.", exit_code=EXIT_USAGE)
    if file and file != str(paths.carried(root, session)):
        raise RunnerError("usage", "%s is not where a bundle is sent to." % file, exit_code=EXIT_USAGE)
    return {"refs": refs, "head": head, "shallow": shallow, "file": file}


def not_found(source: Remote, ref: str) -> RunnerError:
    """Return the error for a ref that was not sent, because it is not there."""
    return RunnerError(
        "ref_not_found",
        "%s has no %s." % (source.shown, ref),
        hint="It was deleted there.",
        exit_code=EXIT_NOT_FOUND,
    )


def take(mirrored: Mirror, sent: Mapping[str, Any], wanted: Mapping[str, str]) -> None:
    """Put what was sent into the mirror and point `wanted` (our refs -> names) at it. Call with the lock.

    Raises `RunnerError`: `carried_incomplete` when commits are missing, `no_space`, `git_failed`.
    """
    git = mirrored.git
    _cut_off(mirrored, sent["shallow"])
    if sent["file"]:
        done = git.run("bundle", "unbundle", sent["file"], check=False, deadline=FETCH_SECONDS)
        if done.exit_code != 0:
            _refuse(done)
    tips = {ours: theirs if fetch.is_sha(theirs) else sent["refs"][theirs] for ours, theirs in wanted.items()}
    whole = git.run(
        "rev-list", "--objects", "--quiet", *sorted(set(tips.values())), "--not", "--all", "--", check=False
    )
    if whole.exit_code != 0:
        _refuse(whole)
    lines = "".join("update %s %s\n" % pair for pair in sorted(tips.items()))
    git.run("update-ref", "--no-deref", "--stdin", input=lines.encode("utf-8", "surrogateescape"))


def _cut_off(mirrored: Mirror, shallow: List[str]) -> None:
    missing = [sha for sha in shallow if not mirrored.git.commit(sha)]
    if missing:
        file = mirrored.path / "shallow"
        known = file.read_text(encoding="ascii").split() if file.exists() else []
        paths.write_atomically(file, "".join(sha + "\n" for sha in sorted({*known, *missing})))


def _refuse(done: Completed) -> None:
    if no_space(done):
        raise out_of_space("Taking the commits that were sent")
    raise RunnerError(
        "carried_incomplete",
        "The commits that were sent are not whole: %s." % done.reason,
        hint="Repeat the command; then everything is sent.",
        exit_code=EXIT_UNAVAILABLE,
    )


def drop(root: Path, session: str) -> None:
    """Remove the file that was sent for a job, and a part of one. Absent is success."""
    file = paths.carried(root, session)
    for path in (file, file.with_name(file.name + ".part")):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
