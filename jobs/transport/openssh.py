"""What the OpenSSH client on this computer makes of the user's configuration, as `ssh -G` prints it."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
from collections.abc import Sequence
from pathlib import Path

from jobs.errors import NotConfigured

USER_CONFIG = Path("~/.ssh/config")
DEADLINE = 10.0  # a `Match exec` may take its time


async def resolve_host(host: str, words: Sequence[str] = ()) -> dict[str, list[str]] | None:
    """Return the values of each keyword for a host; None without an OpenSSH client.

    `words`: further arguments of `ssh`; with `-F FILE` among them it reads that file alone. Raises
    `NotConfigured` when ssh refuses its configuration, and `TimeoutError`.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            "ssh", "-G", *([] if "-F" in words else _files()), *words, "--", host,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except FileNotFoundError:
        return None
    try:
        async with asyncio.timeout(DEADLINE):
            out, err = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        why = (err.decode(errors="replace").strip().splitlines() or ["no answer"])[-1]
        raise NotConfigured(
            f"Reading the OpenSSH configuration of {host} failed: {why.rstrip('.')}.",
            hint=f"Try `ssh -G {host}` by hand.",
        )
    # ssh expands `~` by the password database, and we by HOME.
    its_home = re.compile(rf"(?<!\S){re.escape(_home_of_ssh())}(?=/)")
    values: dict[str, list[str]] = {}
    for line in out.decode(errors="replace").splitlines():
        keyword, _, value = line.partition(" ")
        values.setdefault(keyword, []).append(its_home.sub(lambda _: os.path.expanduser("~"), value))
    return values


def _files() -> list[str]:
    """Return the option that makes `ssh` follow HOME, which it does not; empty when that changes nothing."""
    path = USER_CONFIG.expanduser()
    if path.parent.parent == Path(_home_of_ssh()):
        return []
    return ["-F", str(path) if path.is_file() else "none"]


def _home_of_ssh() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # a user without an entry, as containers have; ssh will say so
        return os.path.expanduser("~")
