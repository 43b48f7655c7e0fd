"""The browser packages."""

import json
import re
import tempfile
from pathlib import Path

from django.apps import apps as apps_registry
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.checks import run_checks
from django.test import RequestFactory, TestCase
from whitenoise.responders import StaticFile

from docs import licences
from offload_web.package_files import PACKAGE_FILES
from offload_web.static_files import StaticFilesMiddleware

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


def test_the_licences_cover_every_package_that_is_served() -> None:
    # That the page is current is a test of `tests/architecture/test_docs.py`.
    found = {package.name: package for package in licences.packages()}
    for source in PACKAGE_FILES.values():
        name = re.match(r"(@[^/]+/)?[^/]+", source)
        assert name is not None
        assert name[0] in found, source
    apps = [app for app in apps_registry.get_app_configs() if (Path(app.path) / "static").is_dir()]
    theirs = {app.name.replace("_", "-") for app in apps if not (ROOT / app.name).is_dir()}
    assert theirs == set(licences.PYTHON)
    permissive = {"MIT", "0BSD", "BSD-3-Clause", "Apache-2.0", "ISC"}
    assert {package.licence for package in found.values()} <= permissive


def test_the_checks_pass() -> None:
    assert [problem for problem in run_checks() if problem.id and problem.id.startswith("offload.")] == []


class StaticTests(TestCase):
    def test_modules_are_served_as_javascript_without_a_login(self) -> None:
        for name in ("vendor/xterm/xterm.mjs", "offload/app.js", "vendor/htmx.js"):
            answer = self.client.get(f"/static/{name}")
            assert answer.status_code == 200, name
            assert answer["Content-Type"].startswith("text/javascript"), name

    def test_licences_are_served_as_text_without_a_login(self) -> None:
        answer = self.client.get("/static/offload/licences.txt")
        assert answer["Content-Type"].startswith("text/plain")
        assert b"The xterm.js authors" in answer.content

    def test_an_unchanged_file_is_not_sent_again(self) -> None:
        first = self.client.get("/static/offload/app.css")
        known = {"if-modified-since": first["Last-Modified"]}
        again = self.client.get("/static/offload/app.css", headers=known)
        assert again.status_code == 304
        assert again.content == b""

    def test_a_file_that_an_upgrade_changed_has_its_own_length(self) -> None:
        with tempfile.NamedTemporaryFile(suffix=".css") as file:
            file.write(b"a { color: red }")
            file.flush()
            known = StaticFile(file.name, [("Content-Type", "text/css")])
            file.truncate(3)
            answer = StaticFilesMiddleware.serve(known, RequestFactory().get("/"))
        assert (answer.content, answer["Content-Length"]) == (b"a {", "3")

    def test_nothing_else_is_served(self) -> None:
        assert self.client.get("/static/../manage.py").status_code in (302, 404)
