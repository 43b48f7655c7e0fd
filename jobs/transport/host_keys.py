"""The file of pinned host keys, in OpenSSH's `known_hosts` format. Pure but for reading and appending."""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

SSH_PORT = 22


@dataclass(frozen=True)
class HostKey:
    """A public key: its type (`ssh-ed25519`) and its base64 text."""

    kind: str
    text: str

    @classmethod
    def parse(cls, line: str) -> HostKey:
        """Read `ssh-ed25519 AAAA... [comment]`."""
        kind, text = line.split()[:2]
        return cls(kind, text)

    @property
    def fingerprint(self) -> str:
        """Return what `ssh-keygen -l` shows: `SHA256:...`."""
        try:
            raw = base64.b64decode(self.text)
        except binascii.Error:
            return "an unreadable key"
        return "SHA256:" + base64.b64encode(hashlib.sha256(raw).digest()).decode().rstrip("=")

    def __str__(self) -> str:
        return f"{self.kind} {self.text}"


def host_name(host: str, port: int) -> str:
    """Return the name of a host in a `known_hosts` file."""
    return host if port == SSH_PORT else f"[{host}]:{port}"


def pinned_keys(path: Path, name: str) -> list[HostKey]:
    """Return the keys pinned for a host; none when the file does not exist."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        fields = line.split()
        if len(fields) >= 3 and not line.startswith(("#", "@")) and name in fields[0].split(","):
            found.append(HostKey(fields[1], fields[2]))
    return found


@dataclass(frozen=True)
class Pin:
    """A host's name, as the file has it, and a key pinned for it."""

    name: str
    key: HostKey


def all_pins(path: Path) -> list[Pin]:
    """Return every pinned key; none when the file does not exist."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [pin for line in text.splitlines() if (pin := _pin_of(line))]


def _pin_of(line: str) -> Pin | None:
    fields = line.split()
    if len(fields) < 3 or line.startswith(("#", "@")):
        return None
    return Pin(fields[0], HostKey(fields[1], fields[2]))


def unpin(path: Path, pins: Collection[Pin]) -> None:
    """Forget these keys; every other line stays as it is. Absent is success."""
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return
    with open(fd, "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        kept = [line for line in file.read().splitlines(keepends=True) if _pin_of(line) not in pins]
        file.seek(0)
        file.truncate()
        file.write("".join(kept))


def pin_key(path: Path, name: str, key: HostKey) -> None:
    """Append a host's key, unless another process has just done so."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    with open(fd, "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if key not in pinned_keys(path, name):
            file.write(f"{name} {key}\n")
