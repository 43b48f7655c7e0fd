"""The first-run page: what is known, what a test finds, and how long a test may take."""

import socket
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

from asgiref.sync import sync_to_async
from django.conf import settings
from django.test import TransactionTestCase, override_settings

from jobs import invocation, operations
from jobs.models import Repository
from jobs.providers.base import Severity
from jobs.workers import close_lines
from offload_web.login import local_user
from tests.support.factories import make_job, make_worker
from tests.support.git_repos import RepoBuilder


class StartTests(TransactionTestCase):
    def setUp(self) -> None:
        self.client.force_login(local_user())

    def default_worker(self, name: str) -> override_settings:
        values = {**settings.OFFLOAD.values, "worker": name}
        return override_settings(OFFLOAD=replace(settings.OFFLOAD, values=values))

    def test_the_home_leads_here_until_there_is_a_job(self) -> None:
        self.assertContains(self.client.get("/"), 'href="/start/"')
        make_job()
        self.assertNotContains(self.client.get("/"), 'href="/start/"')

    def test_a_step_says_what_is_known_and_what_takes_it_without_asking_anything(self) -> None:
        answer = self.client.get("/start/")
        for text in (
            "missing",
            "Still missing: repository",
            invocation.command("setup --set repo=OWNER/NAME"),
        ):
            self.assertContains(answer, text)
        with self.default_worker("elsewhere"):
            self.assertContains(self.client.get("/start/"), "There is no worker elsewhere.")
        self.assertEqual(self.client.post("/start/nothing/").status_code, 404)
        self.assertEqual(self.client.get("/start/all/").status_code, 405)

    def test_a_repository_is_kept_only_once_it_was_read(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            bad = f"{folder}/<b>nothing"
            answer = self.client.post("/start/repository/", {"repository": bad})
            self.assertContains(answer, "does not work")
            self.assertContains(answer, "&lt;b&gt;nothing")
            self.assertEqual(Repository.objects.count(), 0)
            shop = RepoBuilder(Path(folder, "shop"))
            shop.commit({"a.txt": "a"})
            answer = self.client.post("/start/repository/", {"repository": shop.url})
            self.assertContains(answer, f"{shop.url} answers git; its head is ")
            self.assertEqual(Repository.objects.get().url, shop.url)
            self.assertNotContains(answer, "Still missing")

    async def test_a_worker_that_is_silent_ends_the_test_in_time_and_in_words(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            config = {"host": "127.0.0.1", "port": silent.getsockname()[1]}
            await operations.list_first_steps()
            await sync_to_async(make_worker)("far", provider="ssh", config=config)
            with (
                self.default_worker("far"),
                mock.patch("jobs.operations.first_steps.TEST_SECONDS", 6.0),
            ):
                (found,) = await operations.check_first_step("worker")
            await close_lines()
        self.assertEqual(found.severity, Severity.FAIL)
        self.assertIn("not over after 6 seconds", found.detail)
        self.assertTrue(found.remedy)
