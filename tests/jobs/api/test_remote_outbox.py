"""`offload outbox` with OFFLOAD_URL: a real server, and a strict GitHub that it posts to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cli import Cli
from tests.support.dashboard import dashboard
from tests.support.github import SHA, TOKEN, github

SEED = f"""
import asyncio, json
from jobs.models import Draft
from jobs.operations import add_token
from jobs.states import Scope
from tests.support.factories import make_job, make_repository
repository = make_repository("acme/shop", url="https://github.test/acme/shop", forge="github")
job = make_job(repository=repository, number=1, verdict="needs_work", sha="{SHA}")
for mark in "12":
    Draft.objects.create(
        repository=repository, job=job, number=1, kind="review", head_sha="{SHA}", mark=mark * 32,
        body="Good.\\x1b[31m", comments=[{{"path": "app.txt", "line": 2, "body": "Applied twice"}}],
    )
print(json.dumps({{s.value: asyncio.run(add_token(s.value, [s.value, "read"], "me"))[1] for s in Scope}}))
"""


def test_a_draft_is_listed_shown_and_sent_after_a_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TOKEN_GITHUB_TEST", TOKEN)
    server = tmp_path / "server"
    server.mkdir(mode=0o700)
    (tmp_path / "cwd").mkdir()
    with github() as forge:
        forge.add(1)
        (server / "config.toml").write_text(f'forge_apis = ["github.test={forge.url}"]\n')
        with dashboard(server) as running:
            tokens = json.loads(running.python(SEED))
            assert running.serving is not None
            remote = Cli(tmp_path / "home", tmp_path / "cwd")
            remote.env.pop("GIT_TOKEN_GITHUB_TEST")
            remote.env |= {"OFFLOAD_URL": running.serving.url, "OFFLOAD_TOKEN": tokens["send"]}

            assert "   1  review  acme/shop#1  open" in remote.run("offload", "outbox", "ls").stdout
            assert [one["id"] for one in remote.json("offload", "outbox", "ls")["drafts"]] == [1, 2]
            shown = remote.run("offload", "outbox", "show", "1").stdout
            assert f"acme/shop#1 at {SHA[:10]}: " in shown
            assert "app.txt:2\n  | Applied twice\n" in shown
            assert "\x1b" not in shown
            assert remote.json("offload", "outbox", "show", "1")["draft"]["preview"]["body"]

            # Without a yes, or with a token that may only read, nothing is posted.
            refused = remote.run("offload", "outbox", "send", "1", "--no-input", code=5)
            assert "Applied twice" in refused.stdout
            assert "Confirmation required" in refused.stderr
            remote.env["OFFLOAD_TOKEN"] = tokens["read"]
            assert "scope send" in remote.run("offload", "outbox", "send", "1", "--yes", code=5).stderr
            assert "scope send" in remote.run("offload", "outbox", "drop", "1", code=5).stderr
            assert forge.reviews == []

            remote.env["OFFLOAD_TOKEN"] = tokens["send"]
            assert "Posted: " in remote.run("offload", "outbox", "send", "1", "--yes").stdout
            [review] = forge.reviews
            assert review["body"].startswith("Good.")
            assert "is dropped" in remote.run("offload", "outbox", "drop", "2").stdout
            assert "is empty" in remote.run("offload", "outbox", "ls").stdout
            for words, code, text in (
                (("edit", "1"), 2, "its pages"), (("show", "x"), 2, "the number of"), (("drop", "9"), 3, "9"),
            ):  # fmt: skip
                assert text in remote.run("offload", "outbox", *words, code=code).stderr, words
            assert not (remote.home / "offload.sqlite3").exists()
