"""The key that signs sessions: made once, readable by its owner only."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from jobs.errors import NotConfigured


def load(home: Path) -> str:
    """Return the key kept under `home`, making it at first use. Raises `NotConfigured`."""
    try:
        return _load(home)
    except OSError as error:
        raise NotConfigured(
            f"Keeping Offload's files in {home} failed: {error.strerror} ({error.filename}).",
            hint="Set OFFLOAD_HOME to a directory that you can write to, on a disk with free space.",
        ) from error


def _load(home: Path) -> str:
    # Two processes at once agree on one key.
    path = home / "secret_key"
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        pass
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = home / f"secret_key.{os.getpid()}"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(50))
    try:
        # A link fails when another process was first, where a rename would overwrite its key.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text(encoding="ascii")
