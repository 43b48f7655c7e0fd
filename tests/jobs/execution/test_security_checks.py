"""`doctor --security`: what holds and what does not, on this computer and on each worker."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.utils import timezone

from jobs.models import Worker
from jobs.operations import add_token, check_security
from jobs.providers.base import Problem, Severity
from tests.jobs.execution.base import ExecutionTest
from tests.support.factories import make_repository, make_worker
from tests.support.sshd import free_port

DIGEST = f"registry.invalid/maintainer@sha256:{'0' * 64}"


class SecurityChecks(ExecutionTest):
    def configure(self, **values: Any) -> None:
        config = settings.OFFLOAD
        self.enterContext(self.settings(OFFLOAD=replace(config, values={**config.values, **values})))

    async def check(self, *workers: Worker) -> dict[str, Problem]:
        return {problem.subject: problem for problem in await check_security(workers)}

    async def test_a_private_home_without_workers_but_this_computer(self) -> None:
        settings.OFFLOAD.home.mkdir(mode=0o700)
        os.chmod(self.root, 0o700)
        self.configure(container="never", host="::1")
        found = await self.check()
        assert {name: problem.severity.value for name, problem in found.items()} == {
            "home": "pass",
            "address": "pass",
            "logins": "pass",
            "secrets": "pass",
            "agent gemini": "pass",
            "agent claude": "pass",
            "agent codex": "pass",
            "worker local: isolation": "warn",
            "worker local: caches": "warn",
            "worker local: root": "pass",
        }
        assert "the setting `container` is `never`" in found["worker local: isolation"].detail
        assert f"rm -rf {self.root}/cache" in found["worker local: caches"].command
        os.chmod(self.root, 0o777)
        root = (await self.check())["worker local: root"]
        assert (root.severity, root.command) == (Severity.FAIL, f"chmod go-w {self.root}")
        assert "(drwxrwxrwx)" in root.detail

    async def test_each_choice_that_has_a_price_is_named_with_a_way_out(self) -> None:
        home = settings.OFFLOAD.home
        home.mkdir(mode=0o755)
        os.chmod(self.tmp, 0o755)
        (home / "logins").write_text("mark")
        self.configure(
            host="0.0.0.0",
            allowed_hosts=("box.example",),
            debug=True,
            agent_command="cat",
            agent_secrets=("MODEL_KEY",),
        )
        await add_token("ci", ["read", "send"], "test")
        await sync_to_async(self.make_rows)()
        found = await self.check()
        for subject, severity, said, remedy in (
            ("home", "warn", "readable by other users", "chmod 700"),
            ("address", "warn", "other machines reach the login page", "setup --set host=127.0.0.1"),
            ("host names", "warn", "box.example", "lead to this computer alone"),
            ("debug", "fail", "Debug pages show settings", "setup --set debug=false"),
            ("logins", "pass", "logged in: 1. `offload serve --logout`", ""),
            ("API token", "warn", "ci may read, send until", "token rm ci"),
            ("trust", "warn", "acme/tinycart runs as you", "trust rm acme/tinycart"),
            ("agent generic", "warn", "It holds MODEL_KEY", "setup --set agent_api="),
            ("worker bare: isolation", "warn", "as the worker's user", "--container --isolation job"),
            ("worker bare: host key", "warn", "No host key is pinned", "Compare the fingerprint"),
            ("worker bare: not checked", "warn", "127.0.0.1", ""),
            ("worker shared: isolation", "warn", "share one container", "--isolation job"),
            ("worker shared: image name", "warn", "maintainer:latest is a name", "doctor shared"),
            ("worker apart: isolation", "pass", "a container of its own", ""),
            ("worker apart: image name", "pass", "names one image for good", ""),
            ("worker apart: caches", "pass", "caches of its own", ""),
        ):
            with self.subTest(subject):
                problem = found[subject]
                assert problem.severity.value == severity
                assert said in problem.detail
                assert remedy in f"{problem.remedy} {problem.command}"
        only = await self.check(await Worker.objects.aget(name="apart"))
        assert {name.partition(":")[0] for name in only if name.startswith("worker ")} == {"worker apart"}

    def make_rows(self) -> None:
        for mark, age in (("mark", 1), ("another dashboard's", 1), ("mark", -1)):
            session = SessionStore()
            session["logins"] = mark
            session.set_expiry(timezone.now() + timedelta(days=age))
            session.save()
        make_repository(trusted_at=timezone.now(), trusted_by="test")
        away = {"host": "127.0.0.1", "port": free_port()}
        shared, apart = {"image": "maintainer:latest"}, {"image": DIGEST, "isolation": "job"}
        make_worker("bare", provider="ssh", config=away)
        make_worker("shared", provider="ssh", config={**away, "container": shared})
        make_worker("apart", provider="ssh", config={**away, "container": apart})
