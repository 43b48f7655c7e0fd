"""A private repository is fetched with the token of its host, by git alone, and it goes nowhere else."""

import asyncio
import os
import subprocess
from pathlib import Path
from unittest import mock

from django.conf import settings

from jobs import execution
from jobs.errors import NotFound, OffloadError
from jobs.forges import registry as forges
from jobs.models import Job, Repository
from tests.jobs.execution.base import PASSING, ExecutionTest
from tests.support.git_https import git_https
from tests.support.git_repos import RepoBuilder

TOKEN = "planted-token-4f81d07b"


def test_each_host_has_a_token_of_its_own() -> None:
    names = {
        "https://github.com/owner/repo": "GITHUB_TOKEN",
        "https://gitlab.com/owner/repo": "GITLAB_TOKEN",
        "https://github.example.com/owner/repo": "GIT_TOKEN_GITHUB_EXAMPLE_COM",
        "https://github.com:8443/owner/repo": "GIT_TOKEN_GITHUB_COM__3A8443",
        "https://github.com.evil.example/owner/repo": "GIT_TOKEN_GITHUB_COM_EVIL_EXAMPLE",
        "http://github.com/owner/repo": "",
        "ssh://git@github.com/owner/repo": "",
        "git@github.com:owner/repo": "",
        "/srv/repo": "",
    }
    assert {url: forges.for_url(url).token_name(url) for url in names} == names


class PrivateRepository(ExecutionTest):
    def setUp(self) -> None:
        super().setUp()
        self.server = self.enterContext(git_https(self.tmp / "server", TOKEN))
        source = RepoBuilder(self.tmp / "source").commit(PASSING)
        source.pull(1, {"app.txt": "two\n"})
        for name in ("owner/repo.git", "owner/other.git"):
            subprocess.run(
                ["git", "clone", "--quiet", "--mirror", source.url, str(self.server.projects / name)],
                check=True,
            )
        self.enterContext(mock.patch.dict(os.environ, {"GIT_SSL_CAINFO": str(self.server.certificate)}))
        self.enterContext(mock.patch.dict(os.environ, {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}))
        self.name = f"GIT_TOKEN_127_0_0_1__3A{self.server.port}"

    async def private(self, name: str = "owner/repo.git") -> Repository:
        repository = await execution.resolve_repository(self.server.url(name), self.tmp)
        await execution.trust(repository.id, "a user")
        return repository

    async def job_of(self, repository: Repository, target: str = "refs/pull/1/head") -> Job:
        job = await self.submit(repo=None, action="open")
        await Job.objects.filter(id=job.id).aupdate(
            repository=repository, ref=target, session=f"{job.session}-p"
        )
        return await Job.objects.aget(id=job.id)

    async def test_the_token_opens_it_and_is_kept_nowhere(self) -> None:
        await asyncio.to_thread(execution.secret_store().set, self.name, TOKEN)
        job = await execution.launch((await self.job_of(await self.private())).id)
        self.assertTrue(Path(job.worktree, "app.txt").read_text() == "two\n")
        self.assertIn(("git", TOKEN), {(user, word) for _, user, word in self.server.seen})
        home = Path(settings.OFFLOAD.home)
        for folder in (self.root, home):
            for path in folder.rglob("*"):
                if path.is_file() and path.name != "secrets.private.json":
                    self.assertNotIn(TOKEN.encode(), path.read_bytes(), path)

    async def test_without_it_the_error_says_what_is_missing(self) -> None:
        with self.assertRaises(OffloadError) as caught:
            await execution.launch((await self.job_of(await self.private())).id)
        self.assertIn(self.name, str(caught.exception))
        self.assertEqual({word for _, _, word in self.server.seen}, {None})

    async def test_a_wrong_one_is_refused_and_not_shown(self) -> None:
        with (
            mock.patch.dict(os.environ, {self.name: "wrong-token-99"}),
            self.assertRaises(OffloadError) as caught,
        ):
            await execution.launch((await self.job_of(await self.private())).id)
        self.assertNotIn("wrong-token-99", str(caught.exception))

    async def test_a_redirect_to_another_host_does_not_get_it(self) -> None:
        await asyncio.to_thread(execution.secret_store().set, self.name, TOKEN)
        with git_https(self.tmp / "elsewhere", "another-password") as other:
            both = self.tmp / "both.pem"
            both.write_bytes(self.server.certificate.read_bytes() + other.certificate.read_bytes())
            self.server.redirect["/owner/repo"] = other.url("owner/repo")
            job = await self.job_of(await self.private())
            with mock.patch.dict(os.environ, {"GIT_SSL_CAINFO": str(both)}), self.assertRaises(OffloadError):
                await execution.launch(job.id)
            self.assertTrue(other.seen, self.server.seen)
            self.assertEqual({word for _, _, word in other.seen}, {None})

    async def test_a_submodule_of_the_same_host_does_not_get_it(self) -> None:
        await asyncio.to_thread(execution.secret_store().set, self.name, TOKEN)
        mirror = str(self.server.projects / "owner/repo.git")
        work = self.tmp / "change"
        git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.com", "-C", str(work)]
        subprocess.run(["git", "clone", "--quiet", mirror, str(work)], check=True)
        url = self.server.url("owner/other.git")
        (work / ".gitmodules").write_text(f'[submodule "x"]\n\tpath = x\n\turl = {url}\n')
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        entry = f"160000,{head.stdout.strip()},x"
        subprocess.run([*git, "add", ".gitmodules"], check=True)
        subprocess.run([*git, "update-index", "--add", "--cacheinfo", entry], check=True)
        subprocess.run([*git, "commit", "--quiet", "-m", "Take what is private"], check=True)
        subprocess.run([*git, "push", "--quiet", mirror, "HEAD:refs/pull/2/head"], check=True)
        job = await self.job_of(await self.private(), "refs/pull/2/head")
        try:
            await execution.launch(job.id)
        except NotFound as refused:
            self.fail(str(refused))
        except OffloadError:
            pass  # a submodule that cannot be fetched may be an error: its contents must not be there
        asked = [(path, word) for path, _, word in self.server.seen if path.startswith("/owner/other.git")]
        self.assertTrue(asked)
        self.assertEqual({word for _, word in asked}, {None})
