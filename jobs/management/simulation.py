"""`--simulate`: a Compute Engine on this machine, with a real sshd behind each machine; costs nothing."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from django.conf import settings

from jobs.errors import NotConfigured
from jobs.providers.gce.api import ENDPOINT_VARIABLE
from jobs.providers.gce.simulator.connect import tunnel

START_SECONDS = 30.0
PROJECT = "simulated"


def _place() -> Path:
    return Path(settings.OFFLOAD.home) / "simulator"


def _answers(url: str) -> bool:
    try:
        urlopen(url, timeout=5).close()  # noqa: S310 - loopback
    except URLError as error:
        # An answer of any kind is one.
        return getattr(error, "code", None) is not None
    except OSError:
        return False
    return True


def _known() -> str:
    try:
        return str(json.loads((_place() / "running.json").read_text())["url"])
    except (OSError, ValueError, KeyError):
        return ""


def start() -> str:
    """Have the simulator running, with the machines it had; return its URL. Raises `NotConfigured`."""
    url = _known()
    if not url or not _answers(url):
        url = _spawn(int(url.rpartition(":")[2]) if url else 0)
    os.environ[ENDPOINT_VARIABLE] = f"{url}/compute/v1/"
    return url


def _spawn(port: int) -> str:
    place = _place()
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = place / "key"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    argv = [
        sys.executable, "-m", "jobs.providers.gce.simulator", "--state", str(place / "state.json"),
        "--seconds", "1", "--port", str(port), "--machines", str(place / "machines"),
        "--authorized", f"{key}.pub",
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
    assert process.stdout is not None  # noqa: S101 - asked for above
    url = process.stdout.readline().strip()
    end = time.monotonic() + START_SECONDS
    while url and not _answers(url) and time.monotonic() < end:
        time.sleep(0.05)
    if not url or not _answers(url):
        raise NotConfigured("The simulator does not start.", hint=f"See {place / 'log'}.")
    (place / "running.json").write_text(json.dumps({"url": url, "pid": process.pid}))
    return url


def config(name: str, url: str) -> dict[str, Any]:
    """Return what a simulated worker's configuration has beside that of a real one."""
    return {
        "simulated": True,
        "project": PROJECT,
        "network": "default",
        "key": str(_place() / "key"),
        "user": getpass.getuser(),
        "tunnel": ["env", f"PYTHONPATH={settings.BASE_DIR}", *tunnel(url)],
        "python": sys.executable,
        "tmux_socket": f"offload-sim-{name}",
    }


def root(name: str) -> str:
    """Return Offload's root on a simulated machine."""
    return str(_place() / "machines" / name / "home" / ".offload")
