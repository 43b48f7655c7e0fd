"""Remotes that are not there, not repositories, or do not have the ref: what the user is told."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.git import command as runner_git
from jobs.remote.offload_runner.git import fetch, mirror
from tests.support.bench import Bench, git_stub, session_of
from tests.support.git_repos import RepoBuilder


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "root")


@pytest.fixture
def shop(tmp_path: Path) -> RepoBuilder:
    return RepoBuilder(tmp_path / "shop").commit({"cart.py": "1"}).pull(1, {"cart.py": "2"})


def refused(bench: Bench, url: str, **changes: Any) -> RunnerError:
    """Prepare, expect an error, and check that nothing was left behind."""
    with pytest.raises(RunnerError) as caught:
        bench.prepare(url, **changes)
    assert not bench.worktree().exists()
    assert not list((bench.root / "worktrees").glob("*"))
    assert not bench.job_dir().exists()
    assert not bench.mirror.exists()
    return caught.value


@pytest.fixture
def not_found_server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/acme/shop.git"
        server.shutdown()
        thread.join()


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("scheme", ["http", "git", "ssh"])
def test_nobody_answers(bench: Bench, scheme: str) -> None:
    error = refused(bench, f"{scheme}://127.0.0.1:{closed_port()}/acme/shop.git")
    assert error.code == "repository_unreachable"
    told = "Failed to connect" if scheme == "http" else "Connection refused"
    assert told in error.message
    assert "git ls-remote" in error.hint


def test_somebody_takes_the_call_and_says_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "TALK_SECONDS", 1.0)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        error = refused(bench, f"git://127.0.0.1:{listener.getsockname()[1]}/shop")
    assert (error.code, "no answer within 1 seconds" in error.message) == ("repository_unreachable", True)


def test_credentials_do_not_get_into_messages(bench: Bench) -> None:
    error = refused(bench, f"http://ada:s3cret@127.0.0.1:{closed_port()}/shop.git")
    assert "s3cret" not in error.message + error.hint + bench.said


def test_credentials_do_not_get_into_the_mirror() -> None:
    assert runner_git.without_credentials("https://x:tok@host/a") == "https://host/a"
    assert runner_git.without_credentials("https://tok@host/a") == "https://host/a"
    assert runner_git.without_credentials("ssh://git@host/a") == "ssh://git@host/a"
    assert runner_git.without_credentials("git@host:a/b") == "git@host:a/b"


def test_a_server_without_that_repository(bench: Bench, not_found_server: str) -> None:
    error = refused(bench, not_found_server)
    assert error.code == "not_a_repository"
    assert "may read it" in error.hint


@pytest.mark.parametrize("make", [True, False])
def test_a_path_that_is_no_repository(bench: Bench, tmp_path: Path, make: bool) -> None:
    if make:
        (tmp_path / "plain").mkdir()
    error = refused(bench, str(tmp_path / "plain"))
    assert error.code == "not_a_repository"
    assert str(tmp_path / "plain") in error.message


def test_a_missing_pull_request_names_what_there_is(bench: Bench, shop: RepoBuilder) -> None:
    error = refused(bench, shop.url, head={"ref": "refs/pull/12/head"})
    assert error.code == "ref_not_found"
    assert "refs/pull/12/head" in error.message
    assert "pull/1/head" in error.hint


def test_a_misspelt_branch_is_guessed(bench: Bench, shop: RepoBuilder) -> None:
    shop.branch("feature/checkout").checkout("main")
    error = refused(bench, shop.url, head={"ref": "feature/chekout"})
    assert error.hint == "Did you mean feature/checkout?"


def test_an_empty_repository(bench: Bench, tmp_path: Path) -> None:
    empty = RepoBuilder(tmp_path / "empty")
    error = refused(bench, empty.url, head={"ref": ""})
    assert error.code == "ref_not_found"
    assert "nothing was pushed" in error.hint


def test_a_commit_that_is_not_there(bench: Bench, shop: RepoBuilder) -> None:
    assert refused(bench, shop.url, head={"ref": "0123456789" * 4}).code == "ref_not_found"


def test_an_unreachable_remote_leaves_a_prepared_job_alone(
    bench: Bench, shop: RepoBuilder, tmp_path: Path
) -> None:
    bench.prepare(shop)
    shop.path.rename(tmp_path / "away")
    with pytest.raises(RunnerError):
        bench.prepare(shop)
    assert (bench.worktree() / "cart.py").read_text() == "2"
    assert (bench.job_dir() / "prepared.json").is_file()


@pytest.mark.parametrize("command", ["fetch", "reset"])
def test_a_full_disk_leaves_nothing_half_made(
    bench: Bench, shop: RepoBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    # What git says when write() gives ENOSPC.
    script = f'for word in "$@"; do if [ "$word" = {command} ]; then\n'
    script += 'echo "fatal: write error: No space left on device" >&2; exit 128; fi; done'
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{git_stub(tmp_path / 'stub', script)}{os.pathsep}{path}")
    error = refused(bench, shop.url)
    assert error.code == "no_space"
    monkeypatch.setenv("PATH", path)
    assert bench.prepare(shop)["sha"] == shop.sha("refs/pull/1/head")


@pytest.mark.parametrize(("free", "code"), [(0, "no_space"), (1 << 30, "git_failed")])
def test_a_full_disk_is_told_although_git_does_not_name_it(
    bench: Bench, shop: RepoBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, code: str
) -> None:
    # All that git says when a file of the checkout does not fit.
    script = 'case "$*" in *" reset --hard"*) echo "error: unable to write file cart.py" >&2; exit 128;; esac'
    monkeypatch.setenv("PATH", f"{git_stub(tmp_path / 'stub', script)}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(runner_git, "_free_bytes", lambda directory: free)
    assert refused(bench, shop.url).code == code


def test_a_full_disk_takes_nothing_from_other_jobs(
    bench: Bench, shop: RepoBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.pull(2, {"cart.py": "3"})
    bench.prepare(shop, 2)
    script = 'case "$*" in *" reset --hard"*) echo "error: No space left on device" >&2; exit 1;; esac'
    monkeypatch.setenv("PATH", f"{git_stub(tmp_path / 'stub', script)}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(RunnerError) as caught:
        bench.prepare(shop)
    assert caught.value.code == "no_space"
    assert (bench.worktree(2) / "cart.py").read_text() == "3"
    assert not (bench.mirror / "refs/offload" / session_of(1)).exists()


def test_without_git_the_user_hears_so(
    bench: Bench, shop: RepoBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nothing").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert refused(bench, shop.url).code == "git_missing"


def test_ssh_is_made_to_fail_rather_than_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -i /keys/mine")
    assert runner_git.ssh_environment()["GIT_SSH_COMMAND"].startswith("ssh -i /keys/mine -oBatchMode=yes")
    monkeypatch.setenv("GIT_SSH_COMMAND", "plink -batch")
    assert runner_git.ssh_environment() == {}


def test_an_address_does_not_become_further_configuration(tmp_path: Path) -> None:
    url = 'a"b\\c\r\n[core]\n\tfsmonitor = "touch x" #\n\\'
    file = tmp_path / "config"
    file.write_bytes(mirror.remote_section(url).encode())
    listed = subprocess.run(
        ["git", "config", "--file", str(file), "--list", "--null"], capture_output=True, check=True
    ).stdout
    entries = [entry.partition(b"\n") for entry in listed.split(b"\0") if entry]
    assert [name for name, _, _ in entries] == [b"remote.origin.url", b"remote.origin.fetch"]
    assert entries[0][2].decode() == url
