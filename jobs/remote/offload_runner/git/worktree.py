"""A job's worktrees: made whole or not at all, one per job, with a second one for the base."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Sequence

from jobs.remote.offload_runner.engine.job_command import run_as_job
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import locks, paths
from jobs.remote.offload_runner.files.paths import JobPaths
from jobs.remote.offload_runner.files.removal import empty_tree, remove_tree
from jobs.remote.offload_runner.files.untrusted import UntrustedFile, read
from jobs.remote.offload_runner.git import base, bundles, checkout, environments, facts, fetch, mirror
from jobs.remote.offload_runner.git.command import (
    ALONE,
    LOCAL_SECONDS,
    Completed,
    command_line,
    environment,
    fail,
    is_no_space,
    out_of_space,
    shown,
    without_credentials,
)
from jobs.remote.offload_runner.git.fetch import Remote, RemoteRefs
from jobs.remote.offload_runner.git.mirror import Emit, Mirror
from jobs.remote.offload_runner.git.removal import remove
from jobs.remote.offload_runner.git.unsaved import check_clean, rescue, snapshot
from jobs.remote.offload_runner.protocol import EXIT_NOT_FOUND, EXIT_USAGE

__all__ = [
    "INDEX",
    "check_clean",
    "discard_base",
    "ensure_base",
    "head_of",
    "move_to",
    "prepare",
    "remove",
    "rescue",
    "reset_base",
    "snapshot",
]


# In the HOME of the base: the index by which its tracked files are brought back.
INDEX = ".base.index"
_MOST_SAID = 64 * 1024  # bytes of a commit's author and subject that are read, and characters that are kept
_MOST_KEPT = 1000
_AT_ONCE = 500  # paths on one command line


@dataclass(frozen=True)
class Request:
    """What `prepare` is asked for. No `ref` means the remote's HEAD; no `base`: it is chosen here."""

    session: str
    remote: Remote
    ref: str
    base: str
    needs_base: bool
    because: str = ""  # why that base
    said: str = ""  # the branch that the forge says is the base; taken while there is one
    keeps_environment: bool = False  # start from a kept environment of the base; see `environments`
    own_caches: bool = False  # the job has package caches of its own
    sent: Optional[Dict[str, Any]] = None  # what came with the request; see `carried`

    @property
    def chooses_base(self) -> bool:
        """Tell whether the base is to be chosen among the branches of the remote."""
        return self.needs_base and not self.base and self.sent is None

    @classmethod
    def from_json(cls, root: Path, spec: Mapping[str, Any]) -> "Request":
        """Read and check the spec. Raises `RunnerError` (`usage`)."""
        try:
            repository = spec["repository"]
            sent = bundles.read(root, str(spec["session"]), spec)
            found = Remote(
                url=str(repository["url"]),
                slug=str(repository["slug"]),
                is_elsewhere=sent is not None,
                user=str((spec.get("credentials") or {}).get("user") or ""),
                token=str((spec.get("credentials") or {}).get("token") or ""),
            )
            request = cls(
                sent=sent,
                session=str(spec["session"]),
                remote=found,
                ref=str((spec.get("head") or {}).get("ref") or "HEAD"),
                base=str((spec.get("base") or {}).get("ref") or ""),
                because=str((spec.get("base") or {}).get("because") or "")[:200],
                said=str((spec.get("base") or {}).get("said") or ""),
                needs_base=bool(spec.get("needs_base", True)),
                keeps_environment=bool(spec.get("keeps_environment", False)),
                own_caches=bool(spec.get("own_caches", False)),
            )
        except (KeyError, TypeError, AttributeError) as exc:
            raise RunnerError(
                "usage", "The spec of prepare is incomplete: %s." % exc, exit_code=EXIT_USAGE
            ) from exc
        mirror.check_slug(found.slug)
        fetch.check_ref(request.ref)
        fetch.check_ref(request.base)
        return request


def prepare(root: Path, spec: Mapping[str, Any], emit: Callable[[Dict[str, Any]], Any]) -> Dict[str, Any]:
    """Fetch the head, lay out the worktree, and return the `prepared` answer (also in `prepared.json`).

    Safe to call again, at once or after a crash at any point. A worktree that is there keeps its commit:
    when the remote's head is another one by now, `moved` says so (`{"from", "to"}`); when the remote has
    no such ref any more, `gone` is true. `emit` gets a `step` line for each step, notes among them.
    """
    request = Request.from_json(root, spec)
    job = paths.job_paths(root, request.session)
    lock = job.job_dir / "prepare.lock"
    try:
        job.job_dir.mkdir(parents=True, exist_ok=True)
        _make_homes(job, request.own_caches)
        # Mounted as the base's caches in a container: another repository's base must not fill them.
        (root / "base" / "caches" / request.remote.slug).mkdir(parents=True, mode=0o700, exist_ok=True)
        with locks.held(str(lock), what="The worktree of %s" % request.session):
            try:
                return _prepare(root, request, job, lambda text: emit({"type": "step", "text": text}))
            except BaseException:
                if os.listdir(job.job_dir) == [lock.name]:  # nothing is known of this job: leave it so
                    with contextlib.suppress(OSError):
                        lock.unlink()
                        job.job_dir.rmdir()
                raise
            finally:
                if request.sent is not None:
                    bundles.drop(root, request.session)
    except BrokenPipeError:  # the reader has gone
        raise
    except OSError as exc:
        if is_no_space(exc):
            raise out_of_space("Preparing the worktree") from exc
        raise RunnerError("prepare_failed", "Preparing the worktree failed: %s." % exc) from exc


def _make_homes(job: JobPaths, own_caches: bool = False) -> None:
    """Make the directories that are mounted into the job's containers, before an engine needs them."""
    more = [job.own_cache] if own_caches else []
    for folder in (*job.homes, job.base_worktree, job.place(paths.BASE).cache, *more):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    for home in job.homes:
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            folder_of_home = os.open(str(home), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.mkdir(job.tmp.name, 0o700, dir_fd=folder_of_home)
            finally:
                os.close(folder_of_home)


def _clear_homes(job: JobPaths, own_caches: bool) -> None:
    """Remove what is in the HOMEs and caches of a job that has not begun: an earlier job prepared it.

    The directories stay: they may be mounted into the job's container.
    """
    for folder in (*job.homes, job.own_cache):
        if paths.is_folder(folder):
            empty_tree(folder)
        else:
            remove_tree(folder)
    _make_homes(job, own_caches)


def _prepare(root: Path, request: Request, job: JobPaths, emit: Emit) -> Dict[str, Any]:
    if request.sent is None:
        emit("Asking %s for %s" % (request.remote.shown, request.ref))
        further = [base.ALL_BRANCHES, base.merge_ref(request.ref)] if request.chooses_base else []
        refs = fetch.ask(root, request.remote, [request.ref, request.base, *further])
    else:
        refs = RemoteRefs(refs=request.sent["refs"], head=request.sent["head"])
    name = request.ref if fetch.is_sha(request.ref) else refs.find(request.ref)
    recorded = paths.read_json(job.prepared)
    if checkout.whole(job.worktree):
        if not isinstance(recorded, dict):
            recorded = _record_again(root, request, job, name, emit)
        return _reuse(job, recorded, refs, name, emit)
    if not name:
        if request.sent is not None:
            raise bundles.not_found(request.remote, request.ref)
        raise fetch.not_found(root, request.remote, request.ref)
    _, against = bundles.find(root, request.remote, refs, name, request.base, request.needs_base)
    possible = base.candidates(refs, name, request.said) if request.chooses_base else base.Candidates([], "")
    mirror_path = paths.mirror(root, request.remote.slug)
    length = len(next(iter(refs.refs.values()), name))
    with mirror.locked(mirror_path, emit):
        created = not mirror_path.exists()
        mirrored = mirror.ensure(mirror_path, request.remote.url, "sha256" if length == 64 else "sha1")
        mirrored.heal(request.session)
        checkout.discard(mirrored, job.worktree)
        _clear_homes(job, request.own_caches)
        try:
            doing = "Fetching" if request.sent is None else "Taking"
            emit("%s %s" % (doing, " and ".join(sorted({name, against} - {""}))))
            ours = {mirrored.ref(request.session, "head"): name}
            if against:
                ours[mirrored.ref(request.session, "base")] = against
            tried = {mirrored.ref(request.session, "try-%d" % n): r for n, r in enumerate(possible.names)}
            ours.update(tried)
            if request.sent is not None:
                bundles.take(mirrored, request.sent, ours)
            else:
                fetch.fetch(mirrored.git, request.remote, ours)
            sha = mirrored.git.commit(mirrored.ref(request.session, "head"))
            if not sha:
                raise RunnerError("ref_not_found", "%s is not a commit." % name, exit_code=EXIT_NOT_FOUND)
            because = request.because
            if possible.branches:
                against, because = base.choose_fetched(mirrored, request.session, refs, possible, tried, sha)
                if against != refs.default_base(name):
                    emit("Comparing with %s, %s" % (against, because))
            checkout.begin(job.worktree)
        except BaseException as exc:
            _give_up(mirrored, job, created, exc)
            raise
    try:
        checkout.lay_out(mirrored, job, job.worktree, sha, request.remote, emit)
        answer = _describe(request, mirrored, job, name, against, emit)
        answer["base_reason"] = because if answer["base_sha"] else ""
        answer["environment"] = None
        if request.keeps_environment and answer["merge_base"]:
            answer["environment"] = environments.give(mirrored.git, job, answer)
            if answer["environment"]["used"]:
                emit("Starting from the environment that was installed for the base")
        paths.write_json(job.prepared, answer)
    except BaseException as exc:
        with mirror.locked(mirror_path, lambda text: None):
            _give_up(mirrored, job, created, exc)
        raise
    checkout.marker(job.worktree).unlink()
    return answer


def _reuse(
    job: JobPaths, recorded: Dict[str, Any], refs: RemoteRefs, name: str, emit: Emit
) -> Dict[str, Any]:
    sha = str(recorded["sha"])
    there = refs.refs.get(name, recorded.get("remote_sha"))
    recorded["gone"] = not name
    moved = bool(name) and there != recorded.get("remote_sha")
    recorded["moved"] = {"from": sha, "to": there} if moved else None
    if moved:
        emit("Keeping %s; the head moved to %s meanwhile" % (sha[:10], str(there)[:10]))
    elif recorded["gone"]:
        emit("Keeping %s; its ref was deleted meanwhile" % sha[:10])
    else:
        emit("Reusing the worktree at %s" % sha[:10])
    recorded["facts"].update(tools=facts.tools(), cores=facts.cores())
    paths.write_json(job.prepared, recorded)
    return recorded


def _record_again(root: Path, request: Request, job: JobPaths, name: str, emit: Emit) -> Dict[str, Any]:
    # The worktree is whole and its record is lost: the job's own refs still say what it was made from.
    mirrored = Mirror(paths.mirror(root, request.remote.slug))
    refs = mirrored.session_refs(request.session) if mirrored.path.is_dir() else []
    if mirrored.ref(request.session, "head") not in refs:
        raise checkout.damaged(job.worktree)
    against = request.base if mirrored.ref(request.session, "base") in refs else ""
    return {
        **_describe(request, mirrored, job, name or request.ref, against or "HEAD", emit),
        "base_reason": request.because,
    }


def _describe(
    request: Request, mirrored: Mirror, job: JobPaths, name: str, against: str, emit: Emit
) -> Dict[str, Any]:
    git = mirrored.git
    head_ref = mirrored.ref(request.session, "head")
    sha = git.commit(head_ref)
    base_sha = git.commit(mirrored.ref(request.session, "base")) if against else ""
    merge_base = ""
    if base_sha:
        found = git.run("merge-base", base_sha, sha, check=False).stdout.split()
        merge_base = found[0].decode("ascii") if found else base_sha
        if not found:
            emit("Note: the head and %s have no common history; they are compared as they are" % against)
    said = git.beginning(_MOST_SAID, "log", "-1", "--encoding=UTF-8", "--format=%an <%ae>%x00%s", sha)
    author, _, subject = map(_one_line, said.decode("utf-8", "replace").partition("\0"))
    known = facts.collect(git, sha, base_sha, merge_base)
    return {
        "type": "prepared",
        "session": request.session,
        "repository": request.remote.slug,
        "url": without_credentials(request.remote.url),
        "ref": name,
        "remote_sha": git.line("rev-parse", head_ref),
        "sha": sha,
        "base_sha": base_sha,
        "base_ref": against,
        "merge_base": merge_base,
        "subject": subject,
        "author": author,
        "worktree": str(job.worktree),
        "base_worktree": str(job.base_worktree),
        "moved": None,
        "gone": False,
        "carried": request.sent is not None,
        "empty": bool(merge_base) and not known["changed"],
        "facts": known,
    }


def _one_line(text: str) -> str:
    return shown(text.strip())[:_MOST_KEPT]


def ensure_base(root: Path, session: str, emit: Optional[Emit] = None) -> Path:
    """Return the worktree of the merge base, made if it is not there. Raises `RunnerError`."""
    say = emit or (lambda text: None)
    job = paths.existing_job(root, session)
    recorded = _recorded(job)
    sha = recorded.get("merge_base")
    if not sha:
        raise RunnerError(
            "no_base", "The job %s has no base to compare with." % session, exit_code=EXIT_NOT_FOUND
        )
    with locks.held(str(job.job_dir / "base.lock"), what="The base worktree of %s" % session):
        if checkout.whole(job.base_worktree):
            return job.base_worktree
        mirrored = Mirror(paths.mirror(root, recorded["repository"]))
        checkout.discard(mirrored, job.base_worktree)
        checkout.begin(job.base_worktree)
        source = Remote(recorded["url"], recorded["repository"], bool(recorded.get("carried")))
        try:
            checkout.lay_out(mirrored, job, job.base_worktree, sha, source, say)
        except BaseException:
            checkout.discard(mirrored, job.base_worktree)
            raise
        checkout.marker(job.base_worktree).unlink()
    return job.base_worktree


def discard_base(root: Path, session: str) -> None:
    """Take away the base's worktree and HOME, and what is in them. The directories stay: they are mounted."""
    job = paths.existing_job(root, session)
    with locks.held(str(job.job_dir / "base.lock"), what="The base worktree of %s" % session):
        checkout.begin(job.base_worktree)
        for folder in (job.base_worktree, job.place(paths.BASE).home):
            empty_tree(folder)
        _make_homes(job)


def reset_base(root: Path, session: str) -> None:
    """Bring the base worktree back to its commit; what git ignores stays (installed packages, caches).

    Nothing in the tree can configure the git that does it.
    """
    job = paths.existing_job(root, session)
    merge_base = str(_recorded(job)["merge_base"])
    _in_base(job, ["read-tree", "--reset", "-u", merge_base])
    _in_base(job, ["checkout-index", "--all", "--force"])
    _in_base(job, ["clean", "--quiet", "-d", "--force", "--exclude=/.git"])


def _in_base(job: JobPaths, words: Sequence[str]) -> None:
    _git_in(job, paths.BASE, job.place(paths.BASE).home / INDEX, words)


def _git_in(job: JobPaths, name: str, index: Path, words: Sequence[str]) -> None:
    """Run git on the worktree of a place, in that place, with the mirror as its repository."""
    tree = job.place(name).tree
    env = {
        **environment(),
        "GIT_DIR": str(paths.mirror(job.root, str(_recorded(job)["repository"]))),
        "GIT_WORK_TREE": str(tree),
        "GIT_INDEX_FILE": str(index),
    }
    _run_in(job, name, words, env)


def _run_in(job: JobPaths, name: str, words: Sequence[str], env: Mapping[str, str]) -> None:
    said = bytearray()
    tree = job.place(name).tree
    argv = words if words[0] == "rm" else command_line(words, ["core.bare=false"])
    code = run_as_job(
        job, argv, cwd=tree, env=env, timeout=LOCAL_SECONDS, output=said.extend, place=name
    )  # fmt: skip
    if code != 0:
        fail("Writing the worktree %s" % tree, Completed(code, b"", bytes(said)))


def move_to(
    root: Path, session: str, sha: str, laid_over: Optional[Mapping[str, bool]] = None, *, of: str = "",
    branch: str = "",
) -> None:  # fmt: skip
    """Bring the worktree of the head to a commit of the mirror; what git ignores stays (installed packages).

    `laid_over`: paths that are then as in the head again, or in the commit `of`; False: not there. `branch`:
    what the commit is checked out as. Nothing in the tree can
    configure the git that writes it. The worktree's own repository follows, as far as it still works.
    """
    job = paths.existing_job(root, session)
    index = job.home / ".move.index"
    # An index that a job has written could name files that git is not to touch.
    _run_in(job, paths.JOB, ["rm", "-f", str(index), str(index) + ".lock"], {})
    _git_in(job, paths.JOB, index, ["read-tree", "--reset", "-u", sha])
    _git_in(job, paths.JOB, index, ["checkout-index", "--all", "--force"])
    _git_in(job, paths.JOB, index, ["clean", "--quiet", "-d", "--force", "--exclude=/.git"])
    head = of or str(_recorded(job)["sha"])
    kept = [path for path, there in (laid_over or {}).items() if there]
    gone = [path for path, there in (laid_over or {}).items() if not there]
    for first in range(0, len(kept), _AT_ONCE):
        some = kept[first : first + _AT_ONCE]
        _git_in(job, paths.JOB, index, ["--literal-pathspecs", "checkout", "--quiet", head, "--", *some])
    for first in range(0, len(gone), _AT_ONCE):
        some = gone[first : first + _AT_ONCE]
        _git_in(job, paths.JOB, index, ["--literal-pathspecs", "rm", "--quiet", "--force", "--", *some])
    if not laid_over:
        with contextlib.suppress(RunnerError):  # a job may have broken its repository; the files are right
            own = {
                **environment(ALONE),
                "GIT_DIR": str(job.worktree / ".git"),
                "GIT_WORK_TREE": str(job.worktree),
            }
            if branch:
                _run_in(job, paths.JOB, ["update-ref", "refs/heads/" + branch, sha], own)
                _run_in(job, paths.JOB, ["symbolic-ref", "HEAD", "refs/heads/" + branch], own)
            else:
                _run_in(job, paths.JOB, ["update-ref", "--no-deref", "HEAD", sha], own)
            _run_in(job, paths.JOB, ["read-tree", "--reset", sha], own)


def head_of(tree: Path) -> str:
    """Return the commit that a job's worktree stands at, read as data; "" when it cannot be told."""
    try:
        text = read(tree, ".git/HEAD", limit=1000).decode("ascii", "replace").strip()
        if text.startswith("ref: "):
            text = read(tree, ".git/" + text[5:], limit=1000).decode("ascii", "replace").strip()
    except UntrustedFile:
        return ""
    return text if fetch.is_sha(text) else ""


def _recorded(job: JobPaths) -> Dict[str, Any]:
    recorded = paths.read_json(job.prepared)
    return recorded if isinstance(recorded, dict) else {}


def _give_up(mirrored: Mirror, job: JobPaths, created: bool, cause: BaseException) -> None:
    # The cause is what the user hears of; what cannot be taken back now, the marker lets the next try do.
    with contextlib.suppress(OSError, RunnerError):
        if checkout.marker(job.worktree).exists():
            checkout.discard(mirrored, job.worktree)
        with contextlib.suppress(FileNotFoundError):
            job.prepared.unlink()
        if isinstance(cause, RunnerError) and cause.code == "no_space":
            mirrored.drop_partial_packs()
        mirrored.drop_refs(job.session)
        if created and not mirrored.git.out("for-each-ref", "--count=1"):
            remove_tree(mirrored.path)
