"""Completion: what bash, zsh and fish are told, and the commands that messages name."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys

import pytest

from jobs import invocation
from jobs.cli.completion import choices
from tests.support.cli import MANAGE, Cli


def words(*before: str) -> list[str]:
    return [word for word, _ in choices(before)]


def test_verbs_actions_and_options() -> None:
    assert words("st") == ["status"]
    assert words("fleet", "re") == ["rebuild", "resize"]
    assert words("123", "") == ["review", "fix", "implement", "ready", "open"]
    assert words("123", "124", "re") == ["review", "ready"]
    assert words("offload", "wait", "123", "--ti") == ["--timeout"]
    assert words("secret", "") == ["set", "ls", "rm"]
    assert words("trust", "") == ["ls", "rm"]
    assert words("fleet", "add", "x", "--isolation", "") == ["worker", "job"]
    assert words("help", "fleet", "pro") == ["provision"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_accepts_its_script(cli: Cli, shell: str) -> None:
    script = cli.run("offload", "completion", shell).stdout
    assert f"{sys.executable} {MANAGE} offload __complete" in script
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert subprocess.run([shell, "-n"], input=script, text=True, check=False).returncode == 0


def test_bash_completes_targets_and_workers_of_the_database(cli: Cli) -> None:
    cli.run("fleet", "ls")
    with sqlite3.connect(cli.home / "offload.sqlite3") as database:
        database.execute(
            "INSERT INTO jobs_repository (id, slug, short, url, forge, base, trusted_by, created_at)"
            " VALUES (1, 'o/shop', 'shop', '/shop', 'plain', '', '', '2026-01-01')"
        )
        columns = [row[1:4] for row in database.execute("PRAGMA table_info(jobs_job)")]
        given = {"repository_id": "1", "worker_id": "1", "number": "12", "target": "'#12'", "name": "'again'",
                 "action": "'review'", "state": "'running'"}  # fmt: skip
        known = [name for name, _, required in columns if required or name in given]
        lists = dict.fromkeys(("tasks", "findings", "options"), "'[]'")
        values = [given.get(name, lists.get(name, "'1'")) for name in known]
        database.execute(f"INSERT INTO jobs_job ({', '.join(known)}) VALUES ({', '.join(values)})")
    database.close()
    script = cli.run("offload", "completion", "bash").stdout

    def complete(line: str) -> list[str]:
        # bash splits words at ":" and replaces only what follows it.
        replies = 'printf "%s\\n" "${COMPREPLY[@]}"'
        code = f'{script}\nCOMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}; _offload; {replies}'
        argv, env = ["bash", "-c", code], {**cli.env, "PATH": "/usr/bin:/bin"}
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout.split()

    assert complete("offload cancel ") == ["12:again"]
    assert complete("offload cancel 12:a") == ["again"]
    assert complete("offload 12:again --worker lo") == ["local"]
    assert complete("offload fleet stop ") == ["local"]
    assert complete("offload pe") == ["peek"]
    assert complete("offload ls -R o") == ["o/shop"]


def test_commands_in_messages_run_as_printed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    hint = cli.json("offload", "status", "9", code=3)["error"]["hint"]
    assert f"`{sys.executable} {MANAGE} offload ls`" in hint
    monkeypatch.setattr(sys, "argv", ["/opt/venv/bin/offload", "ls"])
    assert invocation.render_commands("See `offload ls` and `manage.py fleet ls`; `git push`.") == (
        "See `/opt/venv/bin/offload ls` and `/opt/venv/bin/offload fleet ls`; `git push`."
    )
