"""Commits of a job as a draft: brought home, checked, and kept in a repository here until they are pushed.

What comes from the worker is data that the job's code can write. The commits are taken only when they are
whole, sound, and descend from the commit that the job was made of.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from jobs.errors import ForgeUnreachable, NotConfigured, Refused
from jobs.execution import read_commits
from jobs.execution.forge_access import read_token
from jobs.execution.secrets import credentials_for
from jobs.forges import registry
from jobs.forges.base import COMMIT, host, sibling_url
from jobs.forges.pulls import one_line
from jobs.models import Draft, Job, Repository
from jobs.outbox import drafts
from jobs.outbox.answering import make_answers
from jobs.remote.answers import translate
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.git.command import Git
from jobs.remote.offload_runner.git.fetch import Remote, check_ref
from jobs.states import DraftKind

PUSH_SECONDS = 90.0  # less than an attempt may take
MOST_COMMITS = 100
_MOST_HEADER = 64 * 1024
_MOST_STAT = 16 * 1024
# What a forge runs by itself, with the repository's secrets.
_RUN_BY_FORGES = (".github", ".gitlab-ci.yml", ".gitlab", ".circleci", ".forgejo", ".gitea", "Jenkinsfile")
_TIP = "refs/offload/tip"
_LOGIN = re.compile(r"could not read Username|Authentication failed|[Pp]ermission .*denied|error: 40[13]")


@dataclass(frozen=True)
class Commit:
    """A commit that is to be pushed, as it describes itself."""

    sha: str
    author: str
    subject: str


@dataclass(frozen=True)
class Branch:
    """A branch to push to. `repository`: `owner/repo` of the same host; `name`: as a sentence begins."""

    repository: str
    ref: str
    name: str


@dataclass(frozen=True)
class Change:
    """What a push adds to a branch. `files`: lines of `git diff --stat`, `is_cut`: not all of them.

    `run_by_forge`: a changed file that a forge runs by itself; empty without one.
    """

    commits: tuple[Commit, ...]
    files: tuple[str, ...]
    is_cut: bool
    run_by_forge: str


async def make_push(job: Job, actor: str) -> Draft:
    """Make a draft of pushing the commits made in a job's worktree to its pull request. Nothing is pushed.

    A fix gets drafts of answers to the threads that its commits are about as well.
    Raises `Refused` when they do not descend from the job's commit, `NotFound` when there are none.
    """
    if job.number is None or not job.sha:
        hint = f"Open one for it: `offload outbox pull {job.session}`." if job.options.get("branch") else ""
        raise Refused(f"{job.target} is not a pull request, so there is no branch to push to.", hint=hint)
    mark, tip = await bring_home(job)
    draft = await keep(job, DraftKind.PUSH, actor, mark, {"tip": tip})
    commits = await asyncio.to_thread(_commits_of, _folder(mark), tip, job.sha)
    await make_answers(job, commits, actor)
    return draft


async def bring_home(job: Job) -> tuple[str, str]:
    """Take the commits of a job's worktree here; return the mark that they are kept under, and their tip.

    Raises `Refused` when they do not descend from the job's commit, `NotFound` when there are none.
    """
    bundle = await read_commits(job.id)
    given = (await credentials_for(job.repository.url)).get("credentials") or {}
    source = Remote(
        job.repository.url, job.repository.slug, user=given.get("user", ""), token=given.get("token", "")
    )
    mark = secrets.token_hex(16)
    try:
        with _translated():
            return mark, await asyncio.to_thread(_take, _folder(mark), bundle, source, job.sha)
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, _folder(mark), ignore_errors=True)
        raise


async def keep(
    job: Job, kind: DraftKind, actor: str, mark: str, payload: dict[str, Any], body: str = ""
) -> Draft:
    """Make a draft of the commits that are kept under a mark; they go when there is none."""
    try:
        draft = await drafts.make_draft(job, kind, actor, mark=mark, payload=payload, body=body)
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, _folder(mark), ignore_errors=True)
        raise
    await _sweep()
    return draft


async def read_change(draft: Draft, old: str) -> Change:
    """Return what a draft's commits add to a branch whose head is `old`.

    Raises `Refused` when `old` is not below them, or when they are no longer kept here.
    """
    return await asyncio.to_thread(_read_change, draft, old)


def lines_of(change: Change) -> tuple[str, ...]:
    """Return the commits and the changed files, one line each."""
    commits = (f"{c.sha[:10]} {one_line(c.subject)} ({one_line(c.author)})" for c in change.commits)
    return (*commits, *change.files)


def notes_on(change: Change) -> list[str]:
    """Return what is to be known about a change before it is pushed."""
    notes = []
    if len(change.commits) == MOST_COMMITS:
        notes.append(f"Only the newest {MOST_COMMITS} commits are listed.")
    if change.is_cut:
        notes.append("The list of changed files is cut.")
    if change.run_by_forge:
        name = one_line(change.run_by_forge)
        notes.append(f"It changes what the forge runs with the repository's secrets: {name}.")
    return notes


async def branch_head(repository: Repository, branch: Branch) -> str:
    """Return the commit of a branch; empty when there is none."""
    return await asyncio.to_thread(_branch_head, await _target(repository, branch), branch)


async def push(draft: Draft, repository: Repository, branch: Branch, old: str) -> None:
    """Push a draft's commits to a branch, if that is still at `old` (empty: not there).

    Raises `Refused`: nothing was pushed; `ForgeUnreachable`: it may have been.
    """
    await asyncio.to_thread(_push, draft, await _target(repository, branch), branch, old)


async def _target(repository: Repository, branch: Branch) -> Remote:
    """Return the repository of a branch, with the token that writes."""
    try:
        url = sibling_url(repository.url, branch.repository)
        check_ref(branch.ref)
    except (ValueError, RunnerError) as error:
        raise Refused(
            f"{branch.name} cannot be pushed to: its repository is gone.",
            hint="Push the commits from the worktree to a branch of your own: `offload shell`.",
        ) from error
    forge = registry.for_url(repository.url)
    token = ""
    if url.startswith("https://"):
        token, _ = await read_token(forge.kind, host(url), writing=True)
    return Remote(url, branch.repository, user=forge.token_user, token=token)


def _folder(mark: str) -> Path:
    return Path(settings.OFFLOAD.home) / "outbox" / mark


def _read_change(draft: Draft, old: str) -> Change:
    folder, tip = _folder(draft.mark), tip_of(draft)
    git = Git(str(folder))
    if not folder.is_dir() or not git.commit(_TIP):
        raise Refused(
            f"The commits of draft {draft.id} are no longer kept here.", hint="Drop it, and make it again."
        )
    if not git.commit(old) or not git.ok("merge-base", "--is-ancestor", old, tip):
        raise Refused(
            f"The head of #{draft.number} moved to {old[:10]}, which these commits do not build on.",
            hint="Start the job again on the new head, or merge it in the worktree and make the draft again.",
        )
    with _translated():
        shown = ["-z", "--format=%H%n%an%n%s", tip, f"^{old}", "--"]
        log = git.out("log", f"--max-count={MOST_COMMITS}", *shown)
        diff = ["diff", "--no-ext-diff", "--no-textconv"]
        stat = git.beginning(_MOST_STAT, *diff, "--stat=100", old, tip, "--")
        run = git.beginning(_MOST_STAT, *diff, "--name-only", "-z", old, tip, "--", *_RUN_BY_FORGES)
    rows = [part.split("\n", 2) for part in log.decode(errors="replace").split("\0") if part]
    return Change(
        tuple(Commit(sha, author[:100], subject[:200]) for sha, author, subject in rows),
        tuple(line.strip() for line in stat.decode(errors="replace").splitlines()),
        len(stat) == _MOST_STAT,
        run.split(b"\0")[0].decode(errors="replace"),
    )


def tip_of(draft: Draft) -> str:
    """Return the commit that a draft pushes. Raises `Refused` for a payload that names none."""
    tip = draft.payload.get("tip")
    if not isinstance(tip, str) or not COMMIT.fullmatch(tip):
        raise Refused(f"Draft {draft.id} is no push.", hint="Drop it, and make it again.")
    return tip


def _take(folder: Path, bundle: bytes, source: Remote, base: str) -> str:
    """Make a repository of a bundle and of what the forge has below it; return the bundle's tip."""
    needed, tip, pack = _read_header(bundle)
    if base not in needed:
        raise Refused(
            f"The commits of the worktree do not build on {base[:10]}, the commit of the job.",
            hint="Offload pushes what adds to a branch. Push a rewritten one yourself: `offload shell`.",
        )
    folder.mkdir(parents=True, mode=0o700)
    git = Git(str(folder))
    wide = "sha256" if len(base) == 64 else "sha1"
    git.run("init", "--bare", "--quiet", "--template=", f"--object-format={wide}")
    names = [f"{sha}:refs/offload/needed/{number}" for number, sha in enumerate(needed)]
    git.run(
        "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--depth=1", "--", source.url, *names,
        env=source.environment(), config=source.settings, user_settings=True, deadline=PUSH_SECONDS,
        doing=f"Fetching {', '.join(sha[:10] for sha in needed)} from {source.shown}",
    )  # fmt: skip
    done = git.run("index-pack", "--stdin", "--fix-thin", "--strict", input=pack, check=False)
    whole = done.exit_code == 0 and git.ok(
        "rev-list", "--objects", "--quiet", tip, *(f"^{sha}" for sha in needed), "--"
    )
    if not whole or not git.ok("merge-base", "--is-ancestor", base, tip):
        raise Refused(f"The commits that came from the worker are not sound: {done.reason}.")
    git.run("update-ref", _TIP, tip)
    return tip


def _commits_of(folder: Path, tip: str, base: str) -> set[str]:
    git = Git(str(folder))
    return set(git.out("rev-list", f"--max-count={MOST_COMMITS}", tip, f"^{base}", "--").decode().split())


def _read_header(bundle: bytes) -> tuple[list[str], str, bytes]:
    """Return the commits that a bundle builds on, its tip, and its pack. Raises `Refused`."""
    head, _, pack = bundle.partition(b"\n\n")
    lines = head[:_MOST_HEADER].decode(errors="replace").split("\n")
    needed = [line[1:].split(" ")[0] for line in lines if line.startswith("-")]
    tips = [line.split(" ")[0] for line in lines if line[:1] not in ("-", "#", "@", "")]
    if not lines[0].startswith("# v") or len(tips) != 1 or not all(map(COMMIT.fullmatch, [*needed, *tips])):
        raise Refused("What came from the worker is no bundle of commits.")
    if len(needed) > MOST_COMMITS:
        raise Refused(f"The commits of the worktree build on {len(needed)} others, more than {MOST_COMMITS}.")
    return needed, tips[0], pack


def _branch_head(target: Remote, branch: Branch) -> str:
    name = f"refs/heads/{branch.ref}"
    with _translated():
        done = Git("/").run(
            "ls-remote", "--", target.url, name,
            env=target.environment(), config=target.settings, user_settings=True, deadline=PUSH_SECONDS,
            doing=f"Reading {branch.ref} of {target.shown}",
        )  # fmt: skip
    for line in done.stdout.decode(errors="replace").splitlines():
        sha, _, found = line.partition("\t")
        if found == name:
            return sha
    return ""


def _push(draft: Draft, target: Remote, to: Branch, old: str) -> None:
    branch = f"refs/heads/{to.ref}"
    doing = f"Pushing to {to.ref} of {target.slug}"
    with _translated():
        done = Git(str(_folder(draft.mark))).run(
            "push", "--porcelain", "--no-verify", f"--force-with-lease={branch}:{old}",
            "--", target.url, f"{tip_of(draft)}:{branch}",
            env=target.environment(), user_settings=True, check=False, deadline=PUSH_SECONDS, doing=doing,
            config=[*target.settings, "push.followTags=false", "push.recurseSubmodules=no"],
        )  # fmt: skip
    if done.exit_code == 0:
        return
    lines = done.stdout.decode(errors="replace").splitlines()
    if refused := next((line.split("\t")[-1] for line in lines if line.startswith("!")), ""):
        raise Refused(
            f"{doing} was refused: {refused}.",
            hint="Look at the branch's protection, and at what your token may write (docs/forges.md).",
        )
    if _LOGIN.search(done.stderr.decode(errors="replace")):
        raise NotConfigured(
            f"{doing} failed: {done.reason}.",
            hint="The token needs *Contents: write* there (docs/forges.md).",
        )
    raise ForgeUnreachable(f"{doing} failed: {done.reason}.", hint="Try again.")


@contextmanager
def _translated() -> Iterator[None]:
    """Turn an error of git into ours: what it could not reach may be reached later."""
    try:
        yield
    except RunnerError as error:
        if error.code in ("no_space", "git_missing"):
            raise translate(error.to_json()) from error
        raise ForgeUnreachable(error.message, hint=error.hint) from error


async def _sweep() -> None:
    """Remove the kept commits of drafts that are sent, dropped or gone."""
    folder = Path(settings.OFFLOAD.home) / "outbox"
    kept = {draft.mark for draft in await drafts.list_drafts()}
    for path in folder.iterdir():
        if path.name not in kept:
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
