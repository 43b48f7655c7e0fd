"""Find the repository that a user names, and record trust in it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from jobs.errors import NotConfigured, NotFound, OffloadError, UsageError
from jobs.execution.forge_access import open_forge
from jobs.forges import registry
from jobs.forges.target import ABBREVIATED, BRANCH, Target, normalise_url, spellings
from jobs.models import Job, JobEvent, Repository
from jobs.remote.answers import translate
from jobs.remote.layout import safe_part
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.git.command import Completed, environment, refuse_foreign
from jobs.states import Attention, JobState
from jobs.transitions import set_attention

GIT_DEADLINE = 10.0


async def resolve_repository(text: str, cwd: Path, *, change_address: bool = False) -> Repository:
    """Return the repository that is meant, making its row at first use.

    `text` is a URL, a path, `owner/repo` or a known slug; when it is empty, the current directory's
    upstream counts, then the configured default. Raises `NotConfigured` when nothing names one.
    The ssh and https addresses of one repository are one row, and git fetches from the first that was named;
    with `change_address`, from `text`.
    """
    if text:
        known = await Repository.objects.filter(slug=text).afirst()
        known = known or await Repository.objects.filter(short=text).afirst()
        if known is not None and not (cwd / text).exists():
            return known
        return await _ensure(normalise_url(text, cwd), change_address=change_address)
    if upstream := await find_upstream(cwd):
        return await _ensure(upstream)
    if settings.OFFLOAD.repo:
        return await _ensure(normalise_url(settings.OFFLOAD.repo, cwd))
    raise NotConfigured(
        f"No repository was named, and {cwd} is not inside a git repository.",
        hint="Use --repo URL, run the command inside a clone, or set a default: "
        "`manage.py offload setup --set repo=URL`.",
    )


async def _git(cwd: Path, *argv: str) -> str:
    """Return what git prints, empty when it fails. Raises `Refused` in a repository of another user."""
    process = await asyncio.create_subprocess_exec(
        "git", "-c", "safe.bareRepository=all", "-C", str(cwd), *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(user_settings=True),
    )  # fmt: skip
    try:
        async with asyncio.timeout(GIT_DEADLINE):
            output, complaint = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    try:
        refuse_foreign(Completed(process.returncode or 0, output, complaint))
    except RunnerError as error:
        raise translate(error.to_json()) from error
    return output.decode(errors="replace").strip() if process.returncode == 0 else ""


async def find_upstream(cwd: Path) -> str:
    """Return the repository that the clone around `cwd` comes from, as `normalise_url` has it; empty without.

    The remote `upstream` counts first, then `origin`; a clone without remotes is its own.
    """
    top = await _git(cwd, "rev-parse", "--show-toplevel")
    top = top or await _git(cwd, "rev-parse", "--absolute-git-dir")  # a bare clone has no top level
    if not top:
        return ""
    url = ""
    remotes = (await _git(cwd, "remote")).split("\n")
    for name in ("upstream", "origin", *remotes):
        url = await _git(cwd, "remote", "get-url", name) if name in remotes else ""
        if url and url != name:  # git names a remote without an address by itself
            break
        url = ""
    # git too takes a relative address from there.
    return normalise_url(url or top, Path(top))


@sync_to_async
def _ensure(url: str, *, change_address: bool = False) -> Repository:
    forge = registry.for_url(url)
    same = Repository.objects.filter(url__in=spellings(url)).order_by("id")
    existing = same.filter(url=url).first() or same.first()
    if existing is not None:
        if change_address and existing.url != url:
            Repository.objects.filter(id=existing.id).update(url=url)
            existing.url = url
        return existing
    slug = forge.slug(url)
    short = safe_part(re.split(r"[/\\]", slug)[-1], limit=40)
    # Another repository may have the same name already; a digest of the address tells them apart.
    digest = safe_part(f"{short}:{url}", limit=0)
    if Repository.objects.filter(slug=slug).exists():
        slug = f"{slug}~{digest}"
    if Repository.objects.filter(short=short).exists():
        short = f"{short}-{digest}"
    try:
        with transaction.atomic():
            return Repository.objects.create(slug=slug, short=short, url=url, forge=forge.kind)
    except IntegrityError:
        return Repository.objects.get(url=url)


async def expand_commit(
    target: Target, repository: Repository, cwd: Path, *, ask_forge: bool = True
) -> Target:
    """Return the target with the full id of an abbreviated commit; other targets as they are.

    The commit is looked up in the repository if that is a directory of this computer, else in the clone that
    `cwd` is in, and then at the forge. A branch of that name comes first. Raises `UsageError` for one that is
    not there, where the target can be nothing but a commit; without an address of the repository, as it is
    the dashboard that knows it who looks, such a target stays as it is.
    """
    if target.explicit or target.number is not None or not ABBREVIATED.fullmatch(target.ref):
        return target
    clone = Path(repository.url.removeprefix("file://")) if is_local_path(repository.url) else cwd
    ask = ("rev-parse", "--verify", "--quiet", "--end-of-options")
    if await _git(clone, *ask, f"refs/heads/{target.ref}"):
        return replace(target, kind="branch")
    if commit := await _git(clone, *ask, f"{target.ref.lower()}^{{commit}}"):
        return replace(target, kind="commit", ref=commit)
    commit, said = await _ask_forge(repository, target.ref) if ask_forge else ("", "")
    if commit:
        return replace(target, kind="commit", ref=commit)
    if target.kind == "commit" and repository.url:  # else another dashboard knows the repository
        is_clone = await _git(clone, "rev-parse", "--git-dir")
        where = f"{clone} has no such commit, or several" if is_clone else "there is no clone"
        where = f"{where}. {said.rstrip('.')}" if said else where
        raise UsageError(
            f"The commit {target.ref} is abbreviated, and its full id is not known here: {where}.",
            hint=f"Give its full id. A branch is written {BRANCH}{target.ref}.",
        )
    return target


async def _ask_forge(repository: Repository, begun: str) -> tuple[str, str]:
    """Return the full id of a commit, empty if its forge does not tell it; and what it said instead."""
    if not repository.url or not registry.has_client(repository.forge):
        return "", ""
    try:
        async with open_forge(repository) as (client, slug):
            return await client.expand_commit(slug, begun), ""
    except OffloadError as error:
        return "", error.message


def is_local_path(url: str) -> bool:
    """Return whether a repository's address is a directory of this computer."""
    return url.startswith(("/", "file://"))


@sync_to_async
def trust(repository_id: int, actor: str) -> None:
    """Remember that the user trusts this repository's code to run as themselves."""
    with transaction.atomic():
        changed = Repository.objects.filter(id=repository_id, trusted_at__isnull=True).update(
            trusted_at=timezone.now(), trusted_by=actor
        )
        if changed:
            JobEvent.objects.create(kind="trusted", actor=actor, data={"repository": repository_id})
    for job_id in Job.objects.filter(
        repository_id=repository_id, state=JobState.QUEUED, attention=Attention.APPROVAL
    ).values_list("id", flat=True):
        set_attention(job_id, Attention.NONE, actor=actor)


@sync_to_async
def list_trusted() -> list[Repository]:
    """Return the repositories whose code may run as the user."""
    return list(Repository.objects.filter(trusted_at__isnull=False).order_by("slug"))


@sync_to_async
def distrust(name: str, actor: str) -> tuple[Repository, int]:
    """Take back the trust in a repository: its slug, short name or URL.

    Its queued jobs wait for approval where they need it. Returns it, with the number of its jobs that run as
    the user now; they go on. Raises `NotFound`: it is not trusted.
    """
    named = Q(slug=name) | Q(short=name) | Q(url=name)
    with transaction.atomic():
        row = Repository.objects.select_for_update().filter(named, trusted_at__isnull=False).first()
        if row is None:
            raise NotFound(f"There is no trusted repository {name!r}.", hint="`offload trust ls` lists them.")
        Repository.objects.filter(id=row.id).update(trusted_at=None, trusted_by="")
        JobEvent.objects.create(kind="distrusted", actor=actor, data={"repository": row.id})
    at_work = Job.objects.filter(
        repository=row, state__in=(JobState.PREPARING, JobState.RUNNING), worker__provider="local"
    ).select_related("worker")
    return row, sum(not job.worker.config.get("container") for job in at_work)
