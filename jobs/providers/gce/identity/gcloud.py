"""The program gcloud on this machine: who it works as, and the few things that only it can do."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.errors import NotConfigured, OffloadError
from jobs.providers.gce.identity import credentials
from jobs.providers.gce.identity.account import attempt

SECONDS = 60.0


@dataclass(frozen=True)
class Gcloud:
    """What gcloud says of itself. Empty: not set. `accounts`: those that it has credentials for."""

    path: str
    account: str = ""
    project: str = ""
    accounts: tuple[str, ...] = ()
    error: str = ""


async def look() -> Gcloud | None:
    """Return what gcloud is set to, without leaving this machine; None when it is not on the PATH."""
    path = shutil.which("gcloud")
    if path is None:
        return None
    # Both are waited for, whatever becomes of the other: each has a process.
    config, listed = await asyncio.gather(
        attempt(lambda: _json("config", "list", "--format=json")),
        attempt(lambda: _json("auth", "list", "--format=json")),
    )
    for one in (config, listed):
        if isinstance(one, OffloadError):
            return Gcloud(path, error=one.message)
    core = config.get("core") or {} if isinstance(config, dict) else {}
    accounts = [str(one.get("account")) for one in listed or () if isinstance(one, dict)]
    return Gcloud(path, str(core.get("account") or ""), str(core.get("project") or ""), tuple(accounts))


async def run(*argv: str) -> str:
    """Run gcloud with arguments, never asking anything; return its stdout.

    Raises `NotConfigured` with the last line that it wrote to stderr.
    """
    words = ["gcloud", *argv, "--quiet"]
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise NotConfigured(
            f"gcloud does not start: {error.strerror}.", hint=f"Install it: {credentials.INSTALL}"
        ) from error
    try:
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        raise NotConfigured(f"`{shown(argv)}` did not end within {SECONDS:g} seconds.") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        said = [line.strip() for line in err.decode(errors="replace").splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("ERROR")] or said[-1:]
        text = errors[0].removeprefix("ERROR: ") if errors else f"exit code {process.returncode}"
        raise NotConfigured(f"`{shown(argv)}` failed: {text}")
    return out.decode(errors="replace")


def shown(argv: Sequence[str]) -> str:
    """Return the command as one types it."""
    return " ".join(["gcloud", *argv])


async def _json(*argv: str) -> Any:
    text = await run(*argv)
    try:
        return json.loads(text or "null")
    except ValueError:
        raise NotConfigured(f"`{shown(argv)}` did not answer in JSON.") from None
