"""Podman with a store of its own: as root, or as an ordinary user who is known behind one sshd only."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.docker_engine import BASE, base_archive

PERSON = "offloader"
PERSON_ID = 61234
# Here nobody may raise limits, which Podman's defaults would; a person's own machine needs no such file.
CONFIGURATION = '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
# The machine's own files stay as they are: other ones are seen by what is started in this way.
ACCOUNT = """
for file in passwd group subuid subgid; do mount --bind "$0/etc/$file" "/etc/$file" || exit; done
exec "$@"
"""


class PodmanEngine:
    """Podman behind a script, as a person would put one on the PATH. `command` is the script."""

    def __init__(self, *, rootless: bool = False) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="offload-podman-"))
        # In memory: a store is written once, and gone at once.
        memory = ["-t", "tmpfs", "-o", "size=3g,mode=0755", "tmpfs", str(self.directory)]
        subprocess.run(["mount", *memory], check=True)
        self.image = BASE
        self.rootless = rootless
        self.script = self.directory / "podman"
        self.command = [str(self.script)]
        self.home = self.directory / PERSON
        self.home.mkdir()
        (self.directory / "containers.conf").write_text(CONFIGURATION)
        if rootless:
            os.chown(self.home, PERSON_ID, PERSON_ID)
            self._make_account()

    def _make_account(self) -> None:
        etc = self.directory / "etc"
        etc.mkdir()
        lines = {
            "passwd": f"{PERSON}:x:{PERSON_ID}:{PERSON_ID}::{self.home}:/bin/sh",
            "group": f"{PERSON}:x:{PERSON_ID}:",
            "subuid": f"{PERSON}:6000000:65536",
            "subgid": f"{PERSON}:6000000:65536",
        }
        for name, line in lines.items():
            own = Path("/etc", name)
            own.touch()
            (etc / name).write_text(f"{own.read_text().rstrip()}\n{line}\n".lstrip())

    @property
    def wrap(self) -> tuple[str, ...]:
        """Return the words before a program that is to know the person's account."""
        return ("unshare", "--mount", "sh", "-c", ACCOUNT, str(self.directory))

    def start(self) -> Self:
        """Write the script and import the small Debian."""
        for driver in ("overlay", "vfs"):
            self.script.write_text(
                f"#!/bin/sh\nexport CONTAINERS_CONF={self.directory}/containers.conf"
                f" XDG_RUNTIME_DIR={self.home} HOME={self.home}\n"
                f"cd {self.home}\n"
                f"exec podman --root {self.home}/store --runroot {self.home}/run --tmpdir {self.home}/tmp"
                f" --storage-driver {driver} --cgroup-manager cgroupfs --events-backend file"
                ' --runtime runc --log-level error "$@"\n'
            )
            self.script.chmod(0o755)
            if self.run("info", check=False).returncode == 0:
                break
            shutil.rmtree(self.home / "store", ignore_errors=True)
        self.run("import", "--quiet", str(base_archive()), BASE)
        return self

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of the engine, as its person."""
        argv = [*self.command, *words]
        if self.rootless:
            who = [f"--reuid={PERSON_ID}", f"--regid={PERSON_ID}", "--clear-groups"]
            argv = [*self.wrap, "setpriv", *who, *argv]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def stop(self) -> None:
        """Remove the containers, end what the person left running, and remove the files."""
        self.run("rm", "--all", "--force", "--time", "0", check=False)
        for entry in Path("/proc").glob("[0-9]*") if self.rootless else ():
            with contextlib.suppress(OSError):
                if entry.stat().st_uid == PERSON_ID:
                    os.kill(int(entry.name), signal.SIGKILL)
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if f"{line.split()[1]}/".startswith(f"{self.directory}/"):
                subprocess.run(["umount", "-l", line.split()[1]], capture_output=True, check=False)
        self.directory.rmdir()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
