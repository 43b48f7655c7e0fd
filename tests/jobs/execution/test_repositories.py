"""Which repository an address names."""

import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import TestCase

from jobs import execution
from jobs.errors import UsageError
from jobs.execution.repositories import find_upstream
from jobs.forges.target import parse_target
from jobs.models import Repository
from jobs.operations import JobFilter
from tests.support.factories import make_job, make_repository
from tests.support.git_repos import RepoBuilder, git
from tests.support.github import SHA, github

HTTPS = "https://git.example/o/r"
SSH = "git@git.example:o/r"


class RepositoryTests(TestCase):
    async def test_ssh_and_https_addresses_of_one_repository_are_one_row(self) -> None:
        clone = Path(self.enterContext(tempfile.TemporaryDirectory()))
        subprocess.run(["git", "-C", clone, "init", "-q"], check=True)
        subprocess.run(["git", "-C", clone, "remote", "add", "origin", f"{SSH}.git"], check=True)
        first = await execution.resolve_repository(f"{HTTPS}.git", clone)
        for text in ("", SSH, "ssh://git@GIT.example/o/r.git"):
            assert (await execution.resolve_repository(text, clone)).id == first.id
        assert (await Repository.objects.aget()).url == HTTPS
        job = await sync_to_async(make_job)(repository=first)
        for text in (SSH, HTTPS, "o/r", "r", f"{HTTPS}/"):
            assert await JobFilter(repository=text).apply().aget() == job
        assert not await JobFilter(repository="git@git.example:o/other").apply().aexists()
        await execution.resolve_repository(SSH, clone, change_address=True)
        assert (await Repository.objects.aget()).url == SSH
        assert (await execution.resolve_repository("git@elsewhere.example:o/r", clone)).id != first.id


async def test_the_upstream_of_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = RepoBuilder(tmp_path / "shop").commit({"dir/a": "1"})
    clone, bare = tmp_path / "clone", tmp_path / "bare.git"
    git(tmp_path, "clone", "--quiet", shop.url, str(clone))
    git(tmp_path, "clone", "--quiet", "--bare", shop.url, str(bare))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))  # as in a hook of another repository
    assert await find_upstream(bare) == shop.url
    for address, upstream in (
        ("../shop", shop.url),  # relative to the clone, not to where the command runs
        ("git@[::1]:a/b.git", "git@[::1]:a/b"),
        ("https://github.com/a/b/", "https://github.com/a/b"),
        (None, str(clone)),
    ):
        words = ["remote.origin.url", address] if address else ["--unset", "remote.origin.url"]
        git(clone, "config", *words)
        assert await find_upstream(clone / "dir") == upstream
    assert await find_upstream(tmp_path) == ""


@pytest.mark.django_db(transaction=True)
async def test_an_abbreviated_commit_of_a_repository_without_a_clone_is_asked_for(
    settings: Any, tmp_path: Path
) -> None:
    with github() as server:
        values = settings.OFFLOAD.values | {"forge_apis": (f"github.test={server.url}",)}
        settings.OFFLOAD = replace(settings.OFFLOAD, home=tmp_path / "home", values=values)
        server.commits, server.branches = {"abcdef1" + "2" * 33}, {"cafe123": SHA}
        shop = await sync_to_async(make_repository)("acme/shop", url="https://github.test/acme/shop")

        async def expand(text: str, **options: bool) -> tuple[str, str]:
            target = await execution.expand_commit(parse_target(text), shop, tmp_path, **options)
            return target.kind, target.ref

        assert await expand("ABCDEF1") == ("branch", "ABCDEF1")  # the plain forge has nothing to ask
        shop.forge = "github"
        assert await expand("ABCDEF1") == ("commit", "abcdef1" + "2" * 33)
        assert await expand("abcdef1", ask_forge=False) == ("branch", "abcdef1")
        assert await expand("branch:abcdef1") == ("branch", "abcdef1")
        assert await expand("cafe123") == ("branch", "cafe123")
        with pytest.raises(UsageError, match="No commit found"):
            await expand("https://github.test/acme/shop/commit/0123456")
    assert await expand("abcdef3") == ("branch", "abcdef3")  # the forge does not answer
