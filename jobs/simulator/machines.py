"""A real sshd behind each simulated machine, so that work can be run on it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from jobs.simulator.containers import Container

START_SECONDS = 30.0
STOP_SECONDS = 30.0


class Machines(Protocol):
    """What stands behind the simulated machines."""

    def start(self, name: str, metadata: Mapping[str, str]) -> dict[str, str]:
        """Start (or find running) what is behind a machine; return its public host keys by type."""

    def stop(self, name: str) -> None:
        """Stop it; absent is success."""

    def delete(self, name: str) -> None:
        """Stop it, and forget all but its data disk; absent is success."""

    def wipe(self, name: str) -> None:
        """Forget all that was on its data disk; absent is success."""


class SshdMachines:
    """One sshd per machine on a loopback port of its own; `authorized` are the public keys let in.

    Next to it runs the container that the machine's metadata names. A machine keeps its host key and its home
    as long as its data disk exists. The servers outlive this process, as machines do: a simulator that is
    started again on the same directory finds them.
    """

    def __init__(self, directory: Path, authorized: str) -> None:
        self._directory = directory
        self._authorized = authorized

    def _place(self, name: str) -> Path:
        return self._directory / name

    def _read(self, name: str) -> tuple[int, int] | None:
        """Return process id and port of a machine that runs."""
        try:
            found = json.loads((self._place(name) / "running.json").read_text())
            pid, port = int(found["pid"]), int(found["port"])
        except (OSError, ValueError, KeyError):
            return None
        shown = subprocess.run(
            ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False
        )
        return (pid, port) if str(self._place(name)).encode() in shown.stdout else None

    def port(self, name: str) -> int | None:
        """Return the loopback port of its ssh, or None while it is down."""
        found = self._read(name)
        return found[1] if found else None

    def _container(self, name: str) -> Container:
        return Container(self._place(name))

    def start(self, name: str, metadata: Mapping[str, str]) -> dict[str, str]:
        """Start a server, or find it running; return its public host keys by type."""
        place = self._place(name)
        key = place / "host_key"
        if not key.exists():
            place.mkdir(parents=True, exist_ok=True)
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        (place / "home").mkdir(exist_ok=True)
        (place / "authorized_keys").write_text(self._authorized)
        self._container(name).learn(metadata)
        if self._read(name) is None:
            self._container(name).start()
            self._spawn(place)
        kind, text = Path(f"{key}.pub").read_text().split()[:2]
        return {kind: text}

    def _spawn(self, place: Path) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if sshd is None:
            raise RuntimeError("There is no sshd on this machine: install openssh-server.")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = int(probe.getsockname()[1])
        lines = [
            f"Port {port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {place / 'host_key'}",
            f"AuthorizedKeysFile {place / 'authorized_keys'}",
            "StrictModes no",
            "UsePAM no",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PidFile none",
            f"SetEnv HOME={place / 'home'}",
        ]
        (place / "sshd_config").write_text("\n".join(lines) + "\n")
        with (place / "sshd.log").open("ab") as log:
            process = subprocess.Popen(
                [sshd, "-D", "-e", "-f", str(place / "sshd_config")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (place / "running.json").write_text(json.dumps({"pid": process.pid, "port": port}))
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"sshd does not start; see {place / 'sshd.log'}.") from None
                time.sleep(0.02)
        _reaped[process.pid] = process

    def stop(self, name: str) -> None:
        """End the server and what runs under it, as a machine's end does; absent is success."""
        found = self._read(name)
        (self._place(name) / "running.json").unlink(missing_ok=True)
        if found is not None:
            _signal(os.killpg, found[0], signal.SIGKILL)
        if self._place(name).exists():
            _end_all(self._place(name) / "home", self._container(name).kill)
        if found is not None and (process := _reaped.pop(found[0], None)) is not None:
            process.wait()

    def delete(self, name: str) -> None:
        """Stop it, and remove its container; absent is success."""
        self.stop(name)
        self._container(name).remove()

    def wipe(self, name: str) -> None:
        """Remove the directory of a machine that is down."""
        self.delete(name)
        shutil.rmtree(self._place(name), ignore_errors=True)

    def stop_all(self) -> None:
        """End every server of this directory."""
        for place in self._directory.iterdir() if self._directory.exists() else ():
            self.stop(place.name)


def _end_all(home: Path, kill_container: Callable[[], None]) -> None:
    """End what runs on a machine, all processes at once: none can note that another one died."""
    halted: list[int] = []
    # The oldest first: tmux would wake a pane that was stopped.
    while new := [pid for pid in _at_home(home) if pid not in halted]:
        for pid in new:
            _signal(os.kill, pid, signal.SIGSTOP)
        halted += new
    # While those who watch it are halted; what they would have done of it comes to no disk.
    kill_container()
    # The youngest first: a group that loses its parent is woken by the kernel.
    for pid in reversed(halted):
        _signal(os.kill, pid, signal.SIGKILL)
    end = time.monotonic() + STOP_SECONDS
    while left := _at_home(home):
        if time.monotonic() > end:
            raise RuntimeError(f"The processes {left} of {home} do not end.")
        time.sleep(0.01)


def _at_home(home: Path) -> list[int]:
    """Return the living processes whose HOME is a machine's, or below it (none where there is no /proc).

    The oldest first. The runner gives sessions and tasks an environment of its own; a HOME is always in it.
    """
    wanted = (f"HOME={home}\0".encode(), f"HOME={home}/".encode())
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = b"\0" + (entry / "environ").read_bytes() + b"\0"
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended, or is not ours
        if fields[0] not in "ZX" and any(b"\0" + one in environment for one in wanted):
            found.append((int(fields[19]), int(entry.name)))  # ticks from boot to its start
    return [pid for _, pid in sorted(found)]


def _signal(how: Callable[[int, int], None], pid: int, number: int) -> None:
    try:
        how(pid, number)
    except ProcessLookupError:
        pass


_reaped: dict[int, subprocess.Popen[bytes]] = {}
