"""Commits of a real worktree, pushed to a contributor's branch after a yes: real git, a strict GitHub."""

import os
from dataclasses import replace
from pathlib import Path
from unittest import mock

from asgiref.sync import sync_to_async
from django.conf import settings

from jobs import execution, outbox
from jobs.errors import NotFound, Refused
from jobs.models import Draft, Job, Repository
from jobs.outbox import pushing
from jobs.remote.offload_runner.git.fetch import Remote
from offload_web.login import local_user
from tests.jobs.execution.base import ExecutionTest
from tests.support.git_repos import RepoBuilder, git
from tests.support.github import TOKEN, github

BRANCH = "refs/heads/topic-1"


class Push(ExecutionTest):
    """Pull request #1 of acme/shop is the branch topic-1 of ada/shop."""

    def setUp(self) -> None:
        super().setUp()
        self.head = self.shop.sha("refs/pull/1/head")
        self.upstream = self.shop.bare(self.tmp / "upstream.git")
        self.fork = self.shop.bare(self.tmp / "fork.git")
        git(self.fork, "update-ref", BRANCH, self.head)
        config = self.tmp / "gitconfig"
        for name, path in (("acme", self.upstream), ("ada", self.fork)):
            git(
                self.tmp,
                "config",
                "--file",
                str(config),
                f"url.{path}.insteadOf",
                f"https://github.test/{name}/shop",
            )
        self.forge = self.enterContext(github())
        self.forge.add(1, headRefOid=self.head)
        given = {"GIT_CONFIG_GLOBAL": str(config), "GIT_WRITE_TOKEN_GITHUB_TEST": TOKEN}
        self.enterContext(mock.patch.dict(os.environ, given))
        current = settings.OFFLOAD
        values = {**current.values, "forge_apis": (f"github.test={self.forge.url}",)}
        self.enterContext(self.settings(OFFLOAD=replace(current, values=values)))

    async def repository(self, repo: RepoBuilder | None = None) -> Repository:
        return await execution.resolve_repository("https://github.test/acme/shop", self.tmp)

    async def opened(self) -> Job:
        await execution.trust((await self.repository()).id, "ada")
        job = await self.submit(action="open")
        return await execution.launch(job.id)

    def commit(self, job: Job, text: str) -> str:
        """Commit in the job's worktree as a person would; return the commit."""
        tree = Path(job.worktree)
        (tree / "app.txt").write_text(text)
        git(tree, "commit", "--quiet", "--all", "--message", f"Write {text}")
        return git(tree, "rev-parse", "HEAD")

    async def draft(self, job: Job) -> Draft:
        made = await outbox.make_push(job, "ada")
        return await outbox.get_draft(str(made.id))

    async def test_exactly_the_commits_that_were_shown_are_pushed(self) -> None:
        job = await self.opened()
        with self.assertRaisesRegex(NotFound, "no commit of its own"):
            await outbox.make_push(job, "ada")
        first = self.commit(job, "three")
        draft = await self.draft(job)
        later = self.commit(job, "four")
        shown = await outbox.prepare_draft(draft)
        self.assertEqual(shown.title, "Push 1 commit to topic-1 of ada/shop")
        self.assertEqual(shown.details[0], f"{self.head[:10]} -> {first}")
        self.assertIn("Write three (Ada Author)", shown.details[1])
        self.assertIn("app.txt | 2 +-", shown.details[2])
        self.assertEqual(git(self.fork, "rev-parse", BRANCH), self.head)  # a preview pushes nothing
        await outbox.send_draft(draft, shown)
        self.assertEqual(git(self.fork, "rev-parse", BRANCH), first)
        # The next one builds on what was pushed, and what was sent is no longer kept.
        self.forge.pulls[1]["headRefOid"] = first
        second = await self.draft(job)
        self.assertEqual([path.name for path in (self.tmp / "home" / "outbox").iterdir()], [second.mark])
        shown = await outbox.prepare_draft(second)
        self.assertEqual(shown.title, "Push 1 commit to topic-1 of ada/shop")
        await outbox.send_draft(second, shown)
        self.assertEqual(git(self.fork, "rev-parse", BRANCH), later)
        self.assertEqual(git(self.upstream, "rev-parse", "refs/heads/main"), self.shop.sha("main"))
        # What is pushed is not lost with the worktree; one commit more would be.
        self.commit(job, "five")
        await execution.cancel(job.id, "ada")
        with self.assertRaisesRegex(Refused, "Write five") as refused:
            await execution.remove(job.id)
        self.assertNotIn("Write four", str(refused.exception))
        git(Path(job.worktree), "reset", "--quiet", "--hard", later)
        self.assertIsNone((await execution.remove(job.id)).bundle)

    async def test_the_commit_of_a_fix_is_pushed_as_it_was_judged(self) -> None:
        await execution.trust((await self.repository()).id, "ada")
        self.shop.pull(3, {"app.txt": None})
        broken = self.shop.sha("refs/pull/3/head")
        for path, ref in ((self.upstream, "refs/pull/3/head"), (self.fork, "refs/heads/topic-3")):
            git(path, "fetch", "--quiet", str(self.shop.path), f"refs/pull/3/head:{ref}")
        self.forge.add(3, headRefOid=broken)
        current = settings.OFFLOAD
        values = {
            **current.values,
            "agent_command": "sh -c 'cat >/dev/null; echo one >app.txt; echo It is back.'",
        }
        with self.settings(OFFLOAD=replace(current, values=values)):
            job = await self.run_job("3", action="fix", agent="generic")
        self.assertEqual(job.sha, broken)
        self.assertNotIn(job.judged_sha, ("", broken))
        draft = await self.draft(job)
        shown = await outbox.prepare_draft(draft)
        self.assertEqual(shown.details[0], f"{broken[:10]} -> {job.judged_sha}")
        await outbox.send_draft(draft, shown)
        self.assertEqual(git(self.fork, "rev-parse", "refs/heads/topic-3"), job.judged_sha)

    async def test_the_page_of_an_open_job_drafts_and_shows_a_push(self) -> None:
        job = await self.opened()
        self.commit(job, "<script>pwned=1</script>")
        await self.async_client.aforce_login(await sync_to_async(local_user)())
        page = (await self.async_client.get(f"/jobs/{job.id}/")).content.decode()
        self.assertIn('id="make-push"', page)
        answer = await self.async_client.post(f"/jobs/{job.id}/draft/", {"kind": "push"})
        page = (await self.async_client.get(answer["Location"])).content.decode()
        self.assertIn("Push 1 commit to topic-1 of ada/shop", page)
        self.assertIn("Write &lt;script&gt;", page)
        self.assertNotIn("<script>pwned", page)

    async def test_nothing_is_pushed_over_what_others_did(self) -> None:
        job = await self.opened()
        self.commit(job, "three")
        draft = await self.draft(job)
        shown = await outbox.prepare_draft(draft)
        self.shop.pull(1, {"other.txt": "x\n"}, keep=True)
        theirs = self.shop.sha("refs/pull/1/head")
        git(self.fork, "fetch", "--quiet", str(self.shop.path), f"refs/pull/1/head:{BRANCH}")
        # The API does not know it yet: the branch itself refuses.
        with self.assertRaisesRegex(Refused, r"refused: .*stale"):
            await outbox.send_draft(draft, shown)
        self.forge.pulls[1]["headRefOid"] = theirs
        draft = await outbox.get_draft(str(draft.id))
        self.assertEqual(draft.state, "open")
        with self.assertRaisesRegex(Refused, f"moved to {theirs[:10]}"):
            await outbox.prepare_draft(draft)
        self.assertEqual(git(self.fork, "rev-parse", BRANCH), theirs)

    async def test_what_was_pushed_before_a_crash_is_found(self) -> None:
        job = await self.opened()
        tip = self.commit(job, "three")
        draft = await self.draft(job)
        shown = await outbox.prepare_draft(draft)
        git(Path(job.worktree), "push", "--quiet", str(self.fork), f"HEAD:{BRANCH}")
        await outbox.send_draft(draft, shown)
        self.assertEqual((await outbox.get_draft(str(draft.id))).state, "sent")
        self.assertEqual(git(self.fork, "rev-parse", BRANCH), tip)

    async def test_a_branch_that_is_not_ours_and_a_rewritten_one_are_refused(self) -> None:
        job = await self.opened()
        self.commit(job, "three")
        draft = await self.draft(job)
        self.forge.pulls[1]["maintainerCanModify"] = False
        with self.assertRaisesRegex(Refused, "does not let maintainers push"):
            await outbox.prepare_draft(draft)
        git(Path(job.worktree), "checkout", "--quiet", "--orphan", "new")
        self.commit(job, "unrelated")
        with self.assertRaisesRegex(Refused, "do not build on"):
            await outbox.make_push(job, "ada")
        self.assertEqual([path.name for path in (self.tmp / "home" / "outbox").iterdir()], [draft.mark])

    async def test_what_runs_on_the_forge_with_its_secrets_is_said(self) -> None:
        job = await self.opened()
        workflow = Path(job.worktree) / ".github" / "workflows" / "x.yml"
        workflow.parent.mkdir(parents=True)
        workflow.write_text("on: push\n")
        git(Path(job.worktree), "add", ".")
        self.commit(job, "three")
        shown = await outbox.prepare_draft(await self.draft(job))
        self.assertIn(".github/workflows/x.yml", shown.notes[0])

    def test_a_bundle_that_is_not_sound_is_refused(self) -> None:
        source = Remote(str(self.shop.path), "acme/shop")
        self.shop.checkout("main").branch("mine", self.head)
        self.shop.commit({"app.txt": "three\n"})
        words = ("bundle", "create", "-q", str(self.tmp / "good"), "mine", f"^{self.head}")
        git(self.shop.path, *words)
        good = (self.tmp / "good").read_bytes()
        other = self.shop.sha("main")
        header, pack = good.split(b"\n\n", 1)
        hostile = {
            "is no bundle": [b"", b"nothing", good.replace(b"# v", b"x v", 1)],
            "do not build on": [good.replace(self.head.encode(), other.encode(), 1)],
            "not sound": [
                header + b"\n\n" + pack[:-30] + b"x" * 30,
                header + b"\n\n",
                good.replace(self.shop.sha("mine").encode(), b"4" * 40, 1),
            ],
        }
        for number, (says, bundle) in enumerate((s, b) for s, bundles in hostile.items() for b in bundles):
            with self.subTest(says, number=number), self.assertRaisesRegex(Refused, says):
                pushing._take(self.tmp / "taken" / str(number), bundle, source, self.head)
        self.assertEqual(
            pushing._take(self.tmp / "taken" / "good", good, source, self.head), self.shop.sha("mine")
        )
