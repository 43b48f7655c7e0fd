"""Machines that cannot work, and words that lead nowhere: a clear error each, and nothing half-made."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.remote.layout import socket_for_root
from jobs.remote.offload_runner.screen.tmux_server import server_options
from tests.support.far_worker import (
    FarWorker,
    error_of,
    far_worker,
    machine_without,
    small_disk,
    until,
)
from tests.support.offload_home import processes_under
from tests.support.sshd import Sshd, free_port, make_key

pytestmark = pytest.mark.timeout(180)
ENGINES = ("docker", "podman")


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarWorker]:
    with far_worker(tmp_path_factory.mktemp("bad")) as machine:
        yield machine


def refused(far: FarWorker, *words: str, code: int) -> str:
    """Try to add a machine; see that nothing came of it; return what was said, with the advice."""
    error = error_of(far.cli.run("fleet", "add", "bad", *words, "--json", code=code))
    assert far.row("jobs_worker", "id", name="bad") is None, "the machine is not kept"
    assert not far.root.exists(), "nothing was made on the machine"
    pins = far.cli.home / "known_hosts"
    assert not pins.exists() or pins.read_text() == "", "a machine that is not kept is not known either"
    return f"{error['code']}: {error['message']} {error['hint']}"


def test_whoever_does_not_answer_or_let_us_in(far: FarWorker, tmp_path: Path) -> None:
    said = refused(far, *far.words(key=str(make_key(tmp_path / "stranger"))), code=15)
    assert said.startswith("auth_refused: Connecting to ")
    assert "accepts none of our keys" in said
    said = refused(far, *far.words(host=f"nobody-here@127.0.0.1:{far.sshd.port}"), code=15)
    assert said.startswith("auth_refused: ")
    said = refused(far, *far.words(host=f"{getpass.getuser()}@127.0.0.1:{free_port()}"), code=15)
    assert said.startswith("connect_failed: ")
    assert "does its sshd listen there" in said
    said = refused(far, *far.words(host="no-such-host.invalid"), code=15)
    assert "the name cannot be resolved" in said
    said = refused(far, *far.words(key=str(tmp_path / "none")), code=4)
    assert f"the key {tmp_path / 'none'} cannot be used" in said


def test_words_that_make_no_sense(far: FarWorker) -> None:
    for words in (
        far.words(host="me@host:99999"),
        far.words(host="-oProxyCommand=x"),
        far.words(root="relative"),
        [*far.words(), "--no-container", "--image", "x"],
        [*far.words(), "--provider", "local"],
        [*far.words(), "--alias", "two words"],
        far.words(jump="a b"),
        [*far.words(), "--program", "vim=/usr/bin/vim"],
    ):
        assert refused(far, *words, code=2).startswith("usage: ")


@pytest.mark.parametrize(
    ("missing", "extra", "words", "says"),
    [
        (("tmux",), {}, (), "tmux: There is no tmux on the PATH."),
        (("git",), {}, (), "git: There is no git on the PATH."),
        (("python",), {}, (), "python3: There is no python3 on the PATH."),
        (ENGINES, {}, ("--container",), "engine: There is neither docker nor podman."),
        ((), {"tmux": "echo tmux 2.9a"}, (), "tmux 2.9a"),
        (
            ("docker", "podman", "sudo"),
            {"docker": "echo Cannot connect to the Docker daemon >&2; exit 1"},
            ("--container",),
            "Cannot connect to the Docker daemon",
        ),
    ],
    ids=["no-tmux", "no-git", "no-python", "no-engine", "old-tmux", "dead-engine"],
)
def test_a_machine_that_lacks_something(
    far: FarWorker,
    tmp_path: Path,
    missing: tuple[str, ...],
    extra: dict[str, str],
    words: tuple[str, ...],
    says: str,
) -> None:
    with Sshd(tmp_path / "sshd", options=(machine_without(tmp_path / "m", missing, extra),)) as sshd:
        said = refused(far, *far.words(sshd), *words, code=4)
    assert said.startswith("not_configured: bad cannot run jobs as it is.")
    assert says in said
    assert "Install" in said


def test_programs_that_only_a_login_shell_finds_and_named_ones(far: FarWorker, tmp_path: Path) -> None:
    brew = tmp_path / "brew"
    brew.mkdir()
    for name in ("tmux", "git"):
        (brew / name).symlink_to(shutil.which(name) or "")
    option = machine_without(tmp_path / "m", ("tmux", "git"), login_shell="/bin/bash")
    with Sshd(tmp_path / "sshd", options=(option,)) as sshd:
        (sshd.home / ".bash_profile").write_text(f"echo Welcome\nPATH={brew}:$PATH\n")
        said = refused(far, *far.words(sshd), "--program", "tmux=/no/such/tmux", code=4)
        assert "There is no /no/such/tmux." in said
        config = far.cli.json("fleet", "add", "brewed", *far.words(sshd))["worker"]["config"]
        assert (config["tmux"], config["git"]) == (str(brew / "tmux"), str(brew / "git"))
        far.cli.run("offload", *far.target(1), "--worker", "brewed", "--wait")
        far.cli.run("offload", "rm", *far.target(1), "--yes")
    (far.cli.home / "known_hosts").unlink()
    shutil.rmtree(far.root)


def test_an_account_that_runs_no_commands_and_one_that_talks(far: FarWorker, tmp_path: Path) -> None:
    with Sshd(tmp_path / "a", options=("ForceCommand echo This account is not available.; exit 1",)) as sshd:
        said = refused(far, *far.words(sshd), code=4)
    assert "it runs no commands for us (This account is not available.)" in said
    # The loader of each program writes to stderr; the banner is no UTF-8.
    chat = "echo Welcome to the machine; export LD_PRELOAD=/no/such.so PYTHONVERBOSE=1"
    (tmp_path / "banner").write_bytes(b"\x1b[2JGr\xfc\xdfe\n")
    options = (f'ForceCommand {chat}; sh -c "$SSH_ORIGINAL_COMMAND"', f"Banner {tmp_path}/banner")
    with Sshd(tmp_path / "b", options=options) as sshd:
        added = far.cli.run("fleet", "add", "chatty", *far.words(sshd))  # the transport hears past it
        assert "First contact: " in added.stdout
        assert "First contact" not in added.stderr
        assert "PASS  worker chatty: The runner answers" in far.cli.run("doctor", "chatty").stdout
    far.cli.run("fleet", "rm", "chatty")
    (far.cli.home / "known_hosts").unlink()
    shutil.rmtree(far.root)


def test_a_root_that_cannot_be(far: FarWorker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("somebody's")
    said = refused(far, *far.words(root=str(tmp_path / "file")), code=4)
    assert "is not a directory" in said
    with small_disk(tmp_path / "read-only", 16, "ro") as disk:
        said = refused(far, *far.words(root=str(disk / "deep" / "root")), code=4)
    assert f"cannot be made: {disk} is not writable for" in said
    with small_disk(tmp_path / "disk", 16):
        said = refused(far, *far.words(root=str(tmp_path / "disk" / "root")), code=4)
    assert "disk: 0.0 GiB are free" in said


def test_a_changed_host_key_explains_itself_and_is_forgotten_on_word(tmp_path: Path) -> None:
    with far_worker(tmp_path) as far:
        before = far.add()["new_host_keys"][0]["fingerprint"]
        far.sshd.stop()
        far.sshd.new_host_key()
        far.sshd.start()
        error = error_of(far.cli.run("offload", *far.target(1), "--worker", "far", "--json", code=15))
        assert error["code"] == "host_key_mismatch"
        assert error["message"].count("SHA256:") == 2
        assert before in error["message"]
        assert "ssh-keygen -f" in error["hint"]
        far.require_nothing_left()
        checks = far.cli.json("doctor", "far", "--apply", code=4)["doctor"]["checks"]
        assert checks[-1]["severity"] == "fail", "no key is forgotten without the word for it"
        checks = far.cli.json("doctor", "far", "--forget-host-key")["doctor"]["checks"]
        assert "First contact" in checks[0]["detail"]
        assert before not in checks[0]["detail"]
        assert (
            far.cli.json("offload", *far.target(1), "--worker", "far", "--wait")["job"]["verdict"] == "pass"
        )


def test_doctor_repairs_a_machine(tmp_path: Path) -> None:
    """tmux is missing (apt-get puts it there), and the root is open to others."""
    installed = tmp_path / "apt.log"
    real = subprocess.run(["sh", "-c", "command -v tmux"], capture_output=True, text=True, check=True).stdout
    apt = f'echo "$*" >>{installed}; ln -s {real.strip()} {tmp_path}/m/bin/tmux'
    option = machine_without(tmp_path / "m", ("tmux",), {"apt-get": apt})
    with far_worker(tmp_path) as far:
        far.add()
        with Sshd(tmp_path / "bare", options=(option,)) as bare:
            config = json.loads(far.row("jobs_worker", "config", name="far"))
            far.root.mkdir(mode=0o777)
            far.root.chmod(0o777)
            far.change_worker("far", {**config, "port": bare.port, "key": str(bare.client_key)})
            found = far.cli.run("doctor", "far", code=4).stdout
            assert "FAIL  worker far: tmux: There is no tmux on the PATH." in found
            assert "offload doctor far --apply` can do it" in found
            assert "WARN  worker far: root:" in found
            assert not installed.exists(), "nothing is installed without being asked"
            repaired = far.cli.run("doctor", "far", "--apply")
            assert "Installing tmux with apt-get" in repaired.stderr
            assert installed.read_text().split() == ["install", "-y", "--no-install-recommends", "tmux"]
            assert "PASS  worker far: tmux: tmux " in repaired.stdout
            assert "PASS  worker far: The runner answers" in repaired.stdout
            assert far.root.stat().st_mode & 0o777 == 0o755
        checks = far.cli.json("doctor", "far", code=4)["doctor"]["checks"]
        assert checks[-1]["severity"] == "fail"
        assert "Connecting to" in checks[-1]["detail"]
        far.cli.run("doctor", "absent", code=3)


def test_a_full_disk_before_and_in_the_middle_of_a_job(tmp_path: Path) -> None:
    with far_worker(tmp_path) as far:
        far.add()
        far.shop.pull(20, {"big": os.urandom(30_000_000)})
        with small_disk(far.root, 24) as disk:
            error = error_of(far.cli.run("offload", *far.target(20), "--worker", "far", "--json", code=15))
            assert "the worker's disk is full" in error["message"]
            assert far.cli.json("offload", "ls")["jobs"] == []
            far.require_nothing_left()

            go = far.waiting_pull(21)
            job = far.launch(21)
            filler = disk / "filler"
            with filler.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(65536))
                except OSError:
                    pass
            assert os.statvfs(disk).f_bavail == 0
            go.touch()
            done = far.cli.run("offload", "wait", *far.target(21), "--json", code=None)
            seen = json.loads(done.stdout)["job"]
            assert seen["state"] in ("succeeded", "failed", "interrupted"), seen
            filler.unlink()
            if seen["state"] == "interrupted":
                done = far.cli.run("offload", *far.target(21), "--wait", "--json")
                assert json.loads(done.stdout)["job"]["verdict"] == "pass"
            logs = far.cli.run("offload", "logs", *far.target(21)[:2], "test", *far.target(21)[2:]).stdout
            assert "waiting for go" in logs, "what was written is there"
            far.cli.run("offload", "rm", *far.target(21), "--yes", "--force")
            socket = socket_for_root(str(far.root), "")
            tmux = ["tmux", *server_options(str(far.root), socket)]
            subprocess.run(
                [*tmux, "kill-server"],
                capture_output=True,
                check=False,
            )
            until(lambda: not processes_under(str(far.root)), "nothing runs there any more")
            assert job["session"] not in str(far.leftovers())
