"""The user's secrets on this machine: in the system's keyring, or in a file that only its owner can read.

A variable of the environment of the same name counts first, and is never stored. What is listed are names.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import NotConfigured, NotFound, UsageError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
KEYRING = "keyring"
FILE = "file"
ENVIRONMENT = "environment"
# A shorter one could not be told from other text in a log, and so not be kept out of it.
SHORTEST = 6
LONGEST = 32 * 1024
# The token for a remote dashboard is Offload's own: it can be kept, and no job gets it.
DASHBOARD_TOKEN = "OFFLOAD_TOKEN"
# What these say changes what programs run, or where they look.
_TAKEN = re.compile(
    r"PATH|HOME|SHELL|PWD|IFS|ENV|BASH_ENV|TMPDIR|TERM|CI|PYTHON\w*|NODE_OPTIONS|(LD|DYLD|OFFLOAD|GIT_CONFIG)_\w*"
)


@dataclass(frozen=True)
class Entry:
    """A secret that there is. `source`: `environment`, `keyring` or `file`."""

    name: str
    source: str


def check_name(name: str) -> str:
    """Return the name of a secret, which is that of the variable tasks get. Raises `UsageError`."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not the name of a secret.",
            hint="Use letters, digits and underscores, like a variable: GITHUB_TOKEN.",
        )
    if _TAKEN.fullmatch(name):
        raise UsageError(f"{name} has a meaning of its own for programs.", hint="Choose another name.")
    return name


def check_kept(name: str) -> str:
    """Return a name that can be kept: that of a secret, or `DASHBOARD_TOKEN`. Raises `UsageError`."""
    return name if name == DASHBOARD_TOKEN else check_name(name)


def check_value(name: str, value: str) -> str:
    """Return a value that can be delivered, and kept out of logs. Raises `UsageError`, without the value."""
    if len(value) < SHORTEST:
        raise UsageError(
            f"The value of {name} is too short ({len(value)} characters) to be kept out of logs.",
            hint=f"Use at least {SHORTEST} characters.",
        )
    if len(value) > LONGEST or "\0" in value:
        raise UsageError(f"The value of {name} is longer than {LONGEST} characters, or not text.")
    return value


class SecretStore:
    """The secrets of one `home`. Calls may block (a keyring asks its daemon): keep them off an event loop."""

    def __init__(self, home: Path, environ: Mapping[str, str] | None = None) -> None:
        self._names = home / "secrets.json"
        self._values = home / "secrets.private.json"
        self._environ = os.environ if environ is None else environ
        # Two homes on one machine do not share.
        self._service = f"offload:{home}"

    def names(self) -> list[Entry]:
        """Return what is kept here, by name."""
        return [Entry(name, source) for name, source in sorted(self._index().items())]

    def get(self, name: str) -> str | None:
        """Return a secret's value; None when there is none. Raises `NotConfigured` when it cannot be read."""
        check_kept(name)
        if self._environ.get(name):
            return check_value(name, self._environ[name])
        source = self._index().get(name)
        if source == FILE:
            return _read(self._values).get(name)
        if source != KEYRING:
            return None
        keyring = _keyring()
        if keyring is None:
            raise NotConfigured(
                f"The secret {name} is in the system's keyring, which is not there now.",
                hint=f"Unlock it, or set the secret again: `manage.py offload secret set {name}`.",
            )
        value = _call(lambda: keyring.get_password(self._service, name), f"Reading {name} from the keyring")
        return str(value) if value is not None else None

    def set(self, name: str, value: str) -> Entry:
        """Keep a secret; return where. Raises `UsageError`, `NotConfigured`."""
        check_value(check_kept(name), value)
        keyring = _keyring()
        if keyring is not None:
            _call(lambda: keyring.set_password(self._service, name, value), f"Keeping {name} in the keyring")
        values = _read(self._values)
        known = values.pop(name, None)
        if keyring is None:
            values[name] = value
        if keyring is None or known is not None:
            _write(self._values, values)
        source = FILE if keyring is None else KEYRING
        _write(self._names, {**self._index(), name: source})
        return Entry(name, source)

    def remove(self, name: str) -> None:
        """Forget a secret. Raises `NotFound`, `NotConfigured`."""
        index = self._index()
        source = index.pop(check_kept(name), None)
        if source is None:
            raise NotFound(f"No secret {name} is kept.", hint="See `manage.py offload secret ls`.")
        keyring = _keyring() if source == KEYRING else None
        if keyring is not None:
            _call(lambda: keyring.delete_password(self._service, name), f"Removing {name} from the keyring")
        values = _read(self._values)
        if values.pop(name, None) is not None:
            _write(self._values, values)
        _write(self._names, index)

    def _index(self) -> dict[str, str]:
        return _read(self._names)


def _keyring() -> Any:
    """Return the keyring's module when it has a backend that keeps secrets safe; else None."""
    # Imported late: it looks for its backends, which takes time.
    import keyring
    from keyring.errors import KeyringError

    try:
        backend = keyring.get_keyring()
        # Backends that keep nothing, or plain text, have a priority below one.
        return keyring if float(backend.priority) >= 1 else None
    except (KeyringError, RuntimeError, AttributeError):
        return None


def _call(call: Any, doing: str) -> Any:
    from keyring.errors import KeyringError

    try:
        return call()
    except KeyringError as error:
        raise NotConfigured(
            f"{doing} failed: {error}.",
            hint="Unlock the keyring; PYTHON_KEYRING_BACKEND=keyring.backends.null.Keyring does without it.",
        ) from error


def _read(path: Path) -> dict[str, str]:
    try:
        if sys.platform != "win32" and path.stat().st_mode & 0o077:
            raise NotConfigured(f"{path} can be read by others.", hint=f"Run: chmod 600 {path}")
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise NotConfigured(
            f"Reading {path} failed: {error}.", hint="Move it away, and set the secrets again."
        ) from error
    return {str(name): str(value) for name, value in data.items()}


def _write(path: Path, data: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with open(os.open(draft, flags, 0o600), "w", encoding="utf-8") as file:
        json.dump(dict(data), file, indent=1, sort_keys=True)
    draft.replace(path)
