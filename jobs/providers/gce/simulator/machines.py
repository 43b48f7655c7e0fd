"""A real sshd behind each simulated machine, so that work can be run on it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

START_SECONDS = 30.0
MARK = "OFFLOAD_SIMULATED_MACHINE"  # in the environment of all that runs on a machine


class Machines(Protocol):
    """What stands behind the simulated machines."""

    def start(self, name: str) -> dict[str, str]:
        """Start (or find running) what is behind a machine; return its public host keys by type."""

    def stop(self, name: str) -> None:
        """Stop it; absent is success."""

    def port(self, name: str) -> int | None:
        """Return the loopback port of its ssh, or None while it is down."""


class SshdMachines:
    """One sshd per machine on a loopback port of its own; `authorized` are the public keys let in.

    A machine keeps its host key and its home as long as its directory exists. The servers outlive this
    process, as machines do: a simulator that is started again on the same directory finds them.
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

    def start(self, name: str) -> dict[str, str]:
        """Start a server, or find it running; return its public host keys by type."""
        place = self._place(name)
        key = place / "host_key"
        if not key.exists():
            place.mkdir(parents=True, exist_ok=True)
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        (place / "home").mkdir(exist_ok=True)
        (place / "authorized_keys").write_text(self._authorized)
        if self._read(name) is None:
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
            f"SetEnv HOME={place / 'home'} {MARK}={place}",
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
        if found is None:
            return
        _kill(os.killpg, found[0])
        for pid in _marked(self._place(name)):  # tmux and its like have left the group
            _kill(os.kill, pid)
        process = _reaped.pop(found[0], None)
        if process is not None:
            process.wait()

    def stop_all(self) -> None:
        """End every server of this directory."""
        for place in self._directory.iterdir() if self._directory.exists() else ():
            self.stop(place.name)


def _marked(place: Path) -> list[int]:
    """Return the processes that carry a machine's mark (none where there is no /proc)."""
    wanted = f"{MARK}={place}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue  # it ended, or is not ours
    return found


def _kill(how: Callable[[int, int], None], pid: int) -> None:
    try:
        how(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


_reaped: dict[int, subprocess.Popen[bytes]] = {}
