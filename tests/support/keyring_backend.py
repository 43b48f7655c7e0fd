"""A keyring that keeps its secrets in a file named by a variable: for processes under test only."""

from __future__ import annotations

import json
import os
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError, PasswordSetError

FILE = "TEST_KEYRING_FILE"


class FileKeyring(KeyringBackend):
    """Keeps `{"service|name": value}`. A file that is a directory stands for a keyring that is locked."""

    priority = 5

    @property
    def _path(self) -> Path:
        return Path(os.environ[FILE])

    def _all(self) -> dict[str, str]:
        return dict(json.loads(self._path.read_text())) if self._path.exists() else {}

    def get_password(self, service: str, username: str) -> str | None:
        """Return the value."""
        return self._all().get(f"{service}|{username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep a value."""
        if self._path.is_dir():
            raise PasswordSetError("the keyring is locked")
        self._path.write_text(json.dumps({**self._all(), f"{service}|{username}": password}))

    def delete_password(self, service: str, username: str) -> None:
        """Forget a value."""
        left = self._all()
        if left.pop(f"{service}|{username}", None) is None:
            raise PasswordDeleteError("there is no such password")
        self._path.write_text(json.dumps(left))
