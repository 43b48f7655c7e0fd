"""A real container engine of a test run's own: dockerd on a private socket, and an image to run."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE = Path(__file__).resolve().parents[1] / ".cache"
BASE = "offload-test-base:1"
START_SECONDS = 60.0
# What a job needs of its image: the runner's Python, git, and what the tests' plans call.
PACKAGES = "python3,git,tmux,less,make,procps,ca-certificates"
RELEASE = "bookworm"
# Half of what debootstrap leaves is of no use in an image, and every engine of a test run unpacks it.
UNUSED = (
    "./dev/*", "./var/cache/apt/*", "./var/lib/apt/lists/*", "./usr/share/locale/*", "./usr/share/doc/*",
    "./usr/share/man/*",
)  # fmt: skip


@contextmanager
def locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def base_archive() -> Path:
    """Return the root file system of a small Debian as a tar file, making it at first use."""
    archive = CACHE / f"base-{RELEASE}-slim.tar"
    with locked(CACHE / "base.lock"):
        if not archive.exists():
            with tempfile.TemporaryDirectory(prefix="offload-base-") as directory:
                root = Path(directory) / "root"
                making = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, str(root)]
                done = subprocess.run(making, capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
                part = archive.with_suffix(".part")
                leaving = [f"--exclude={pattern}" for pattern in UNUSED]
                subprocess.run(["tar", "-C", str(root), "-cf", str(part), *leaving, "."], check=True)
                part.rename(archive)
    return archive


class DockerEngine:
    """dockerd in the foreground, with directories of its own. Ended by `stop`, containers first."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="offload-dockerd-"))
        self.socket = self.directory / "docker.sock"
        self.command = ["docker", "-H", f"unix://{self.socket}"]
        self.image = BASE
        self.log = self.directory / "dockerd.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> DockerEngine:
        """Start the engine and wait until it answers."""
        argv = [
            "dockerd",
            "--data-root", str(self.directory / "data"), "--exec-root", str(self.directory / "exec"),
            "--pidfile", str(self.directory / "pid"), "-H", f"unix://{self.socket}",
            "--bridge=none", "--iptables=false", "--ip6tables=false",
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < end, self.log.read_text()[-3000:]
            time.sleep(0.1)
        return self

    def _answers(self) -> bool:
        return subprocess.run([*self.command, "info"], capture_output=True, check=False).returncode == 0

    def load_base(self) -> DockerEngine:
        """Import the small Debian as an image."""
        subprocess.run([*self.command, "import", str(base_archive()), BASE], check=True, capture_output=True)
        return self

    def ask(self, *words: str) -> str:
        """Return what the engine says."""
        return subprocess.run([*self.command, *words], capture_output=True, check=True, text=True).stdout

    def restart(self) -> None:
        """Restart the engine, as a host's update of it does."""
        self._end()
        self.start()

    def remove(self, container: str) -> bool:
        """Remove a container; return whether it was there."""
        done = subprocess.run([*self.command, "rm", "-f", container], capture_output=True, check=False)
        return done.returncode == 0 and b"No such" not in done.stderr

    def _end(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Remove the containers, end the engine, and remove its files."""
        names = subprocess.run([*self.command, "ps", "-aq"], capture_output=True, text=True, check=False)
        if names.stdout.split():
            subprocess.run(
                [*self.command, "rm", "-f", *names.stdout.split()], capture_output=True, check=False
            )
        self._end()
        for line in Path("/proc/self/mounts").read_text().splitlines():
            place = line.split()[1]
            if place.startswith(f"{self.directory}/"):
                subprocess.run(["umount", "-l", place], capture_output=True, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)
        assert not os.path.exists(self.socket)
