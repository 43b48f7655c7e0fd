"""`--simulate`: a simulated Compute Engine on this machine, with a real sshd for each machine; costs nothing.

The simulator is a separate process, one for each Offload home. A command that finds a simulated worker and no
simulator starts it; it is stopped when the last simulated machine is deleted.
"""

from __future__ import annotations

import asyncio
import fcntl
import getpass
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models import Q, QuerySet

from jobs.errors import NotConfigured, Refused
from jobs.models import Worker
from jobs.providers.gce.compute import api
from jobs.remote.layout import socket_for_root
from jobs.simulator import running
from jobs.simulator.connect import tunnel
from jobs.states import WorkerDesired, WorkerState

START_SECONDS = 60.0
PROJECT = "simulated"
MODULE = "jobs.simulator"


def _home() -> Path:
    return Path(settings.OFFLOAD.home)


def _answers(url: str) -> bool:
    """Return whether a simulator answers (another program may have the port after a restart)."""
    from http.client import HTTPConnection, HTTPException  # needed with a simulated worker only

    line = HTTPConnection("127.0.0.1", urlsplit(url).port or 0, timeout=5)
    try:
        line.request("GET", "/simulator/hello")
        return bool(json.load(line.getresponse()).get("simulator"))
    except (OSError, ValueError, HTTPException):
        return False
    finally:
        line.close()


def _is_ours(pid: int) -> bool:
    """Return whether a process is a simulator (another process may have the number after a restart)."""
    argv = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    return pid > 0 and MODULE.encode() in subprocess.run(argv, capture_output=True, check=False).stdout


def _in_use() -> QuerySet[Worker]:
    """Return the simulated workers that have a machine, or that a machine is requested for."""
    deleted = Q(state=WorkerState.ABSENT.value, desired=WorkerDesired.GONE.value)
    return Worker.objects.filter(config__simulated=True).exclude(deleted)


def start_if_used() -> None:
    """Start the simulator when a worker of this home needs it. Raises `NotConfigured`."""
    if _in_use().exists():
        start()


async def start_for(worker: Worker) -> None:
    """Start the simulator when the machine of this worker is simulated. Raises `NotConfigured`."""
    if worker.config.get("simulated"):
        await asyncio.to_thread(start)


def start() -> None:
    """Start the simulator with the machines it had, unless it runs. Raises `NotConfigured`."""
    home = _home()
    running.place(home).mkdir(parents=True, exist_ok=True, mode=0o700)
    with (running.place(home) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two simulators would overwrite each other's state
        url, _ = running.read(home)
        if not url or not _answers(url):
            _spawn(home)


def _spawn(home: Path) -> None:
    api.require_library()
    place = running.place(home)
    key = place / "key"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    argv = [
        sys.executable, "-m", MODULE, "--state", str(place / "state.json"), "--seconds", "1",
        "--machines", str(running.machines(home)), "--authorized", f"{key}.pub",
    ]  # fmt: skip
    with (place / "log").open("ab") as log:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=settings.BASE_DIR,
            start_new_session=True,
            text=True,
        )
    try:
        url = _url_of(process)
        if not url:
            raise NotConfigured("The simulator does not start.", hint=f"See {place / 'log'}.")
        running.note(home, url, process.pid)
    except BaseException:
        # Without a note of it, it would keep running, or stay as a zombie of a server.
        process.kill()
        process.wait()
        raise
    finally:
        assert process.stdout is not None  # noqa: S101 - asked for above
        process.stdout.close()


def _url_of(process: subprocess.Popen[str]) -> str:
    """Return the address that a simulator prints, once it answers there; empty when it does not."""
    assert process.stdout is not None  # noqa: S101 - asked for above
    end = time.monotonic() + START_SECONDS
    if not select.select([process.stdout], [], [], START_SECONDS)[0]:
        return ""
    url = process.stdout.readline().strip()
    while url and not _answers(url):
        if time.monotonic() > end or process.poll() is not None:
            return ""
        time.sleep(0.05)
    return url


def stop_if_unused() -> None:
    """Stop the simulator when no worker of this home needs it. Its state is kept."""
    _, pid = running.read(_home())
    if not _in_use().exists() and _is_ours(pid):
        os.kill(pid, signal.SIGTERM)


def config(name: str) -> dict[str, Any]:
    """Return what the configuration of a simulated worker has in addition to that of a real one."""
    home = _home()
    return {
        "simulated": True,
        "project": PROJECT,
        "network": "default",
        "key": str(running.place(home) / "key"),
        "user": getpass.getuser(),
        "tunnel": list(tunnel(running.machines(home))),
        "python": sys.executable,
        # All these machines share this one's /tmp: each has a tmux server of its own.
        "tmux_socket": socket_for_root(root(name), ""),
    }


def root(name: str) -> str:
    """Return Offload's root on a simulated machine."""
    return str(running.machines(_home()) / name / "home" / ".offload")


def preempt(worker: Worker) -> None:
    """Take a simulated machine away, as Google takes spot machines. Raises `Refused`."""
    if not worker.config.get("simulated"):
        raise Refused(
            f"{worker.name} is a real machine; only a simulated one can be taken away.",
            hint=f"`offload fleet stop {worker.name}` stops it.",
        )
    from urllib.error import HTTPError
    from urllib.request import urlopen

    body = json.dumps({"what": "preempted", "name": worker.name}).encode()
    try:
        urlopen(f"{running.address(_home())}/simulator/happen", body, timeout=30).close()  # noqa: S310
    except HTTPError:
        raise Refused(
            f"{worker.name} has no running machine.", hint=f"Start it: `offload fleet start {worker.name}`."
        ) from None
