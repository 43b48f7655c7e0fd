"""Engines with a store of their own: Podman with and without root, and Docker without."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from types import TracebackType
from typing import Self

from tests.support.docker_engine import BASE, START_SECONDS, base_archive
from tests.support.person import Person, Place

# Limits cannot be raised here, which Podman's defaults would; a person's own machine needs no such file.
CONFIGURATION = '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'


class PodmanEngine:
    """Podman behind a script, as a person would put one on the PATH. `command` is the script."""

    def __init__(self, *, rootless: bool = False) -> None:
        self.person = Person("offload-podman-") if rootless else None
        self.place = self.person or Place("offload-podman-")
        self.image = BASE
        self.script = self.place.directory / "podman"
        self.command = [str(self.script)]

    def start(self) -> Self:
        """Write the script and import the small Debian."""
        directory, home = self.place.directory, self.place.home
        (directory / "containers.conf").write_text(CONFIGURATION)
        for driver in ("overlay", "vfs"):
            self.script.write_text(
                f"#!/bin/sh\nexport CONTAINERS_CONF={directory}/containers.conf XDG_RUNTIME_DIR={home}"
                f" HOME={home}\ncd {home}\n"
                f"exec podman --root {home}/store --runroot {home}/run --tmpdir {home}/tmp"
                f" --storage-driver {driver} --cgroup-manager cgroupfs --events-backend file"
                ' --runtime runc --log-level error "$@"\n'
            )
            self.script.chmod(0o755)
            if self.run("info", check=False).returncode == 0:
                break
            shutil.rmtree(home / "store", ignore_errors=True)
        self.run("import", "--quiet", str(base_archive()), BASE)
        return self

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of the engine, as its person."""
        argv = [*self.command, *words]
        argv = self.person.argv(*argv) if self.person else argv
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def stop(self) -> None:
        """Remove the containers, end what the person left running, and remove the files."""
        self.run("rm", "--all", "--force", "--time", "0", check=False)
        if self.person is not None:
            self.person.end_all()
        self.place.remove()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class RootlessDocker:
    """dockerd as an ordinary user, by rootlesskit and slirp4netns as Docker's own script starts it."""

    def __init__(self) -> None:
        self.person = self.place = Person("offload-rootless-")
        self.image = BASE
        self.command = ["docker", "-H", f"unix://{self.person.home}/docker.sock"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the engine and import the small Debian."""
        home = self.person.home
        # A person's own machine lets everybody open it.
        os.mknod(self.person.directory / "tun", 0o20666, os.makedev(10, 200))
        (self.person.directory / "tun").chmod(0o666)
        kit = [
            "rootlesskit",
            "--net=slirp4netns",
            "--copy-up=/etc",
            "--copy-up=/run",
            f"--state-dir={home}/kit",
        ]
        daemon = [
            "dockerd", "--rootless", "--data-root", f"{home}/data", "--exec-root", f"{home}/exec",
            "--pidfile", f"{home}/pid", "-H", self.command[-1], "--bridge=none", "--iptables=false",
            "--ip6tables=false",
        ]  # fmt: skip
        clear = ["sh", "-c", 'rm -rf /run/docker /run/containerd; exec "$@"', "sh"]
        argv = self.person.argv(f"PATH={os.environ['PATH']}:/usr/sbin:/sbin", *kit, *clear, *daemon)
        log = home / "log"
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=home
            )
        end = time.monotonic() + START_SECONDS
        while self.run("info", check=False).returncode != 0:
            assert self._process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.1)
        self.run("import", str(base_archive()), BASE)
        return self

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of the engine."""
        done = subprocess.run([*self.command, *words], capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        names = self.run("ps", "-aq", check=False).stdout.split()
        if names:
            self.run("rm", "-f", *names, check=False)
        self.person.end_all()
        if self._process is not None:
            self._process.wait(10)
        self.person.remove()
