"""The browser packages."""

import json
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.checks import run_checks
from django.test import TestCase

from offload_web.package_files import PACKAGE_FILES

ROOT = Path(settings.BASE_DIR)


def test_the_lock_file_names_no_host_and_exact_versions() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    assert all("resolved" not in package for package in lock["packages"].values())
    wanted = json.loads((ROOT / "package.json").read_text())["dependencies"]
    assert all(version[0].isdigit() for version in wanted.values())


def test_only_the_listed_files_are_found() -> None:
    for name in PACKAGE_FILES:
        assert finders.find(name), name
    for name in ("vendor/../package.json", "htmx.org/package.json", "vendor/xterm/xterm.mjs.map"):
        assert not finders.find(name), name


def test_the_checks_pass() -> None:
    assert [problem for problem in run_checks() if problem.id and problem.id.startswith("offload.")] == []


class StaticTests(TestCase):
    def test_modules_are_served_as_javascript_without_a_login(self) -> None:
        for name in ("vendor/xterm/xterm.mjs", "offload/app.js", "vendor/htmx.js"):
            answer = self.client.get(f"/static/{name}")
            assert answer.status_code == 200, name
            assert answer["Content-Type"].startswith("text/javascript"), name

    def test_an_unchanged_file_is_not_sent_again(self) -> None:
        first = self.client.get("/static/offload/app.css")
        known = {"if-modified-since": first["Last-Modified"]}
        again = self.client.get("/static/offload/app.css", headers=known)
        assert again.status_code == 304
        assert again.content == b""

    def test_nothing_else_is_served(self) -> None:
        assert self.client.get("/static/../manage.py").status_code in (302, 404)
