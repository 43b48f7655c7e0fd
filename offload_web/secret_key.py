"""Secrets that are made once and kept in `OFFLOAD_HOME`, and the privacy of that directory."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from jobs.errors import NotConfigured


def load(home: Path) -> str:
    """Return the key that signs sessions, making it at first use. Raises `NotConfigured`."""
    return load_or_make(home, "secret_key", lambda: secrets.token_urlsafe(50))


def load_or_make(home: Path, name: str, make: Callable[[], str]) -> str:
    """Return the text of a file that only its owner reads, making it at first use. Raises `NotConfigured`."""
    try:
        make_private(home)
        return _load(home, name, make)
    except OSError as error:
        raise NotConfigured(
            f"Keeping Offload's files in {home} failed: {error.strerror} ({error.filename}).",
            hint="Set OFFLOAD_HOME to a directory that you can write to, on a disk with free space.",
        ) from error


def make_private(home: Path) -> None:
    """Make the directory, or take the rights of group and others away. Raises `OSError` when it cannot."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    mode = stat.S_IMODE(home.stat().st_mode)
    # Another user's directory stays as it is: `require_private` refuses to serve from it.
    if mode & 0o077 and home.stat().st_uid == os.geteuid():
        home.chmod(mode & 0o700)


def require_private(home: Path) -> None:
    """Raise `NotConfigured` unless only this user can enter the directory."""
    found = home.stat()
    if found.st_uid == os.geteuid() and not found.st_mode & 0o077:
        return
    raise NotConfigured(
        f"{home} is open to other users (owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):o}): "
        "they could log in to the dashboard.",
        hint="Set OFFLOAD_HOME to a directory of your own on a file system that keeps modes.",
    )


def _load(home: Path, name: str, make: Callable[[], str]) -> str:
    # Two processes at once agree on one text.
    path = home / name
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        pass
    draft = home / f"{name}.{os.getpid()}"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(make())
    try:
        # A link fails when another process was first; a rename would overwrite its text.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text(encoding="ascii")
