"""A real sshd on a loopback port, with keys and a configuration of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from jobs.transport.endpoint import SshEndpoint

START_SECONDS = 15.0


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def make_key(path: Path) -> Path:
    """Make an ed25519 key pair without a passphrase."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@dataclass
class Sshd:
    """Debian's sshd in the foreground. `max_sessions` is its MaxSessions; `options` further lines.

    `wrap`: words before its command line, for a place of its own; `address`: where it listens there.
    """

    directory: Path
    max_sessions: int = 10
    options: tuple[str, ...] = ()
    wrap: tuple[str, ...] = ()
    address: str = "127.0.0.1"
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.host_key = self.directory / "host_key"
        self.client_key = self.directory / "client_key"
        self.known_hosts = self.directory / "known_hosts"
        self.log = self.directory / "sshd.log"
        self.home = self.directory / "home"
        self.home.mkdir(exist_ok=True)
        for key in (self.host_key, self.client_key):
            if not key.exists():
                make_key(key)
        shutil.copy(f"{self.client_key}.pub", self.directory / "authorized_keys")

    def start(self) -> Self:
        """Start it and wait until it accepts connections."""
        separation = Path("/run/sshd")
        if os.geteuid() == 0:
            separation.mkdir(mode=0o755, exist_ok=True)
        self.port = self.port or free_port()
        config = self.directory / "sshd_config"
        config.write_text(
            "\n".join(
                [
                    f"Port {self.port}",
                    f"ListenAddress {self.address}",
                    f"HostKey {self.host_key}",
                    f"AuthorizedKeysFile {self.directory / 'authorized_keys'}",
                    "StrictModes no",
                    "UsePAM no",
                    "PermitRootLogin yes",
                    "PasswordAuthentication no",
                    "KbdInteractiveAuthentication no",
                    "PidFile none",
                    "LogLevel VERBOSE",
                    "MaxStartups 100",
                    f"MaxSessions {self.max_sessions}",
                    f"SetEnv HOME={self.home}",  # the tester's own ~/.bashrc may be slow, or talk
                    *self.options,
                    "",
                ]
            )
        )
        sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        assert sshd, "There is no sshd: install openssh-server."
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.wrap, sshd, "-D", "-e", "-f", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection((self.address, self.port), 1).close()
                return self
            except OSError:
                assert self.process.poll() is None, f"sshd ended:\n{self.log.read_text()}"
                assert time.monotonic() < deadline, f"sshd does not listen:\n{self.log.read_text()}"
                time.sleep(0.01)

    def endpoint(self, **changes: object) -> SshEndpoint:
        """Return the endpoint of this server."""
        fields: dict[str, object] = {
            "config_host": self.address,
            "port": self.port,
            "user": getpass.getuser(),
            "key": self.client_key,
            "known_hosts": self.known_hosts,
            **changes,
        }
        return SshEndpoint(**fields)  # type: ignore[arg-type]

    def connections(self) -> list[int]:
        """Return the process ids of the server's connections."""
        assert self.process is not None
        return children(self.process.pid)

    def cut(self) -> set[int]:
        """Kill every connection, and return which; the server goes on listening."""
        killed = set(self.connections())
        for pid in killed:
            halves = [child for child in children(pid) if _is_sshd(child)]  # root's has only one
            for half in [*halves, pid]:
                _kill(half)
        return killed

    def new_host_key(self) -> None:
        """Take another host key, as a machine that was made again."""
        for path in (self.host_key, Path(f"{self.host_key}.pub")):
            path.unlink()
        make_key(self.host_key)

    def stop(self) -> None:
        """End the server and its connections."""
        if self.process is None:
            return
        pids = self.connections()
        self.process.terminate()
        self.process.wait(10)
        for pid in pids:
            _kill(pid)
        self.process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def children(parent: int) -> list[int]:
    """Return the living children of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] not in ("Z", "X"):
            found.append(int(entry.name))
    return found


def _is_sshd(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("sshd")
    except OSError:
        return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
