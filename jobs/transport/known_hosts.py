"""The host keys that known_hosts files have for a host, read as OpenSSH reads them.

asyncssh refuses a whole file for one line that it cannot read, and takes the key of a host's default port for
that of its other ports; ssh skips such a line, and trusts such a key but does not insist on it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import asyncssh

from jobs.errors import NotConfigured

# `str.splitlines` would end a line there.
_SPACES = re.compile(r"[\x0b\x0c\x1c-\x1e]")
_REVOCATION_LIST = b"SSHKRL\n\0"


def keys_of(files: Sequence[Path], host: str, addr: str, port: int | None) -> list[asyncssh.SSHKey]:
    """Return the keys of a host at this port (None: the default one): another key is another machine."""
    return list(_read(files)._match(host, addr, port)[0])


def keys_of_name(files: Sequence[Path], host: str, addr: str) -> list[asyncssh.SSHKey]:
    """Return the keys of a host at its default port, which its other ports may have too."""
    return list(_read(files)._match(host, addr)[0])


def authorities_of(files: Sequence[Path], host: str, addr: str, port: int | None) -> list[asyncssh.SSHKey]:
    """Return the authorities whose certificates are good for a host."""
    known = _read(files)
    return list(known._match(host, addr, port)[1] or known._match(host, addr)[1])


def revoked_of(files: Sequence[Path], host: str, addr: str, port: int | None) -> list[asyncssh.SSHKey]:
    """Return the revoked keys of a host, with its port and without."""
    known = _read(files)
    return [*known._match(host, addr, port)[2], *known._match(host, addr)[2]]


def read_revoked(path: Path) -> list[asyncssh.SSHKey]:
    """Return the keys of a `RevokedHostKeys` file. Raises `NotConfigured` when it cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotConfigured(
            f"The file {path} of revoked host keys (RevokedHostKeys) cannot be read: {error.strerror}.",
            hint="Make it readable, or take the keyword out of your OpenSSH configuration.",
        ) from error
    if data.startswith(_REVOCATION_LIST):
        raise NotConfigured(
            f"The file {path} of revoked host keys (RevokedHostKeys) is a KRL, which Offload cannot read.",
            hint="Give it as a list of public keys.",
        )
    found = []
    for line in _lines(data):
        try:
            found.append(asyncssh.import_public_key(line))
        except (ValueError, asyncssh.Error):
            continue
    return found


def _read(files: Sequence[Path]) -> asyncssh.SSHKnownHosts:
    known = asyncssh.SSHKnownHosts()
    for path in files:
        if not path.is_file():
            continue
        for line in _lines(path.read_bytes()):
            try:
                known.load(line)
            except (ValueError, asyncssh.Error):
                continue  # as ssh does
    return known


def _lines(data: bytes) -> list[str]:
    return _SPACES.sub(" ", data.decode("ascii", "replace")).splitlines()
