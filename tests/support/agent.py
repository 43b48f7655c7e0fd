"""A real ssh-agent on a socket of its own, and keys with a passphrase."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSPHRASE = "open sesame"
START_SECONDS = 20.0


@contextmanager
def ssh_agent(folder: Path) -> Iterator[Path]:
    """Run an agent; give its socket."""
    socket = folder / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + START_SECONDS
        while not socket.exists():
            assert time.monotonic() < end, "the agent does not listen"
            time.sleep(0.01)
        yield socket
    finally:
        agent.terminate()
        agent.wait()


def lock(key: Path) -> Path:
    """Give a private key a passphrase."""
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", PASSPHRASE, "-f", str(key)], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    return key


def add(key: Path, socket: Path) -> None:
    """Have an agent hold a key with our passphrase, as its user would by `ssh-add`."""
    asks = socket.with_name("askpass")
    asks.write_text(f"#!/bin/sh\necho '{PASSPHRASE}'\n")
    asks.chmod(0o700)
    env = {
        **os.environ,
        "SSH_AUTH_SOCK": str(socket),
        "SSH_ASKPASS": str(asks),
        "SSH_ASKPASS_REQUIRE": "force",
    }
    subprocess.run(["ssh-add", "-q", str(key)], check=True, env=env, stdin=subprocess.DEVNULL)
