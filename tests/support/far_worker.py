"""A far machine: a real sshd, a command line that knows it, and a repository here with pull requests."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.remote.layout import socket_for_root
from jobs.remote.offload_runner.screen.tmux_server import server_options
from tests.support.cli import offload_cli
from tests.support.desk import Desk, make_shop, until
from tests.support.offload_home import processes_under, worker_root
from tests.support.sshd import Sshd


@dataclass
class FarWorker(Desk):
    """A machine behind sshd, and where that machine keeps things."""

    sshd: Sshd
    root: Path

    def words(self, sshd: Sshd | None = None, **changes: str) -> list[str]:
        """Return the options of `fleet add` that lead to the machine."""
        sshd = sshd or self.sshd
        values = {
            "host": f"{getpass.getuser()}@{sshd.address}:{sshd.port}",
            "key": str(sshd.client_key),
            "root": str(self.root),
            **changes,
        }
        return [word for name, value in values.items() for word in (f"--{name}", value)]

    def add(self, name: str = "far", **changes: str) -> dict[str, Any]:
        """Add the machine as a worker; return what the command says of it."""
        found: dict[str, Any] = self.cli.json("fleet", "add", name, *self.words(None, **changes))["worker"]
        return found

    def tmux(self, *words: str) -> str:
        """Ask the machine's tmux server."""
        argv = ["tmux", *server_options(str(self.root), socket_for_root(str(self.root), "")), *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()

    def leftovers(self) -> list[str]:
        """Return what is there of any job: processes, sessions, files."""
        left = [f"process {pid}: {_command(pid)}" for pid in processes_under(str(self.root))]
        for part in ("jobs", "worktrees"):
            folder = self.root / part
            left += [f"{part}/{name}" for name in (os.listdir(folder) if folder.is_dir() else [])]
        left += [str(path) for path in self.root.glob("repos/.*bundle*")]
        for mirror in self.root.glob("repos/*.git"):
            argv = ["git", "-c", "safe.directory=*", "-C", str(mirror), "for-each-ref", "refs/offload"]
            left += subprocess.run(argv, capture_output=True, check=True, text=True).stdout.splitlines()
        return left

    def require_nothing_left(self) -> None:
        """Fail when anything of a job stays; what was told to end may need a moment on a busy machine."""
        with suppress(AssertionError):
            until(lambda: not self.leftovers(), "nothing is left")
        assert self.leftovers() == []


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "has ended by now"
    return b" ".join(words).decode(errors="replace").strip()


@contextmanager
def far_worker(tmp: Path, **options: Any) -> Iterator[FarWorker]:
    """Give a far machine and a command line; everything on it ends afterwards."""
    shop = make_shop(tmp / "shop")
    with (
        offload_cli(tmp) as cli,
        Sshd(tmp / "sshd", **options) as sshd,
        worker_root(tmp / "far", "") as root,
    ):
        shutil.rmtree(root)  # A fresh machine has none.
        cli.env["HOME"] = str(tmp / "person")
        (tmp / "person").mkdir()
        yield FarWorker(cli, shop, sshd, root)


def machine_without(
    directory: Path,
    names: Sequence[str],
    extra: dict[str, str] | None = None,
    login_shell: str = "/bin/false",
) -> str:
    """Return an sshd option under which no program of these names is on the PATH; `extra` are scripts."""
    programs = directory / "bin"
    programs.mkdir(parents=True)
    for folder in ("/usr/bin", "/bin"):
        for entry in os.scandir(folder):
            if (
                not any(entry.name.startswith(name) for name in names)
                and not (programs / entry.name).exists()
            ):
                (programs / entry.name).symlink_to(entry.path)
    for name, script in (extra or {}).items():
        (programs / name).unlink(missing_ok=True)
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    shell = directory / "shell"
    variables = f"PATH={programs}\nSHELL={login_shell}\nexport PATH SHELL"
    shell.write_text(f'#!/bin/sh\n{variables}\nexec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n')
    shell.chmod(0o755)
    return f"ForceCommand {shell}"


@contextmanager
def small_disk(path: Path, megabytes: int, options: str = "rw") -> Iterator[Path]:
    """Mount a small disk at `path` for the length of a block."""
    path.mkdir(parents=True, exist_ok=True)
    words = ["-t", "tmpfs", "-o", f"size={megabytes}m,{options}", "tmpfs", str(path)]
    subprocess.run(["mount", *words], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def error_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the error that a command printed with --json."""
    error: dict[str, Any] = json.loads(done.stdout)["error"]
    return error


__all__ = ["FarWorker", "error_of", "far_worker", "machine_without", "small_disk", "until"]
