"""The ssh key for OS Login: which one there is on this machine, and whether Google knows it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import NotConfigured

USUAL = "~/.ssh/google_compute_engine"  # gcloud's own, so that `gcloud compute ssh` gets in too
CANDIDATES = (USUAL, "~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
SECONDS = 30.0


@dataclass(frozen=True)
class LocalKey:
    """A private key's file, and its public part (`ssh-ed25519 AAAA...`)."""

    path: Path
    public: str


def find(configured: str = "", profile: Mapping[str, Any] | None = None) -> LocalKey | None:
    """Return the key to use: the configured one, else one that the profile knows, else gcloud's usual one.

    Raises `NotConfigured` when the configured one is not there.
    """
    if configured:
        key = _read(Path(configured).expanduser())
        if key is None:
            raise NotConfigured(f"There is no ssh key {configured}, or {configured}.pub is missing.")
        return key
    found = [key for one in CANDIDATES if (key := _read(Path(one).expanduser())) is not None]
    for key in found:
        if expiry(profile or {}, key.public) is not None:
            return key
    return next((key for key in found if key.path == Path(USUAL).expanduser()), None)


def _read(path: Path) -> LocalKey | None:
    try:
        words = path.with_name(f"{path.name}.pub").read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        return None
    return LocalKey(path, " ".join(words[:2])) if len(words) > 1 and path.is_file() else None


def unusable(key: Path) -> tuple[str, str]:
    """Return why a private key here cannot be used, and the command that fixes it; empty: it can be used.

    Offload asks for no passphrase: a key that has one works when an ssh agent holds it.
    """
    if not _has_passphrase(key):
        return "", ""
    asked = _run(["ssh-add", "-L"])
    found = _read(key)
    held = [line.split()[:2] for line in asked.stdout.splitlines()] if asked is not None else []
    if found is not None and found.public.split() in held:
        return "", ""
    text = f"{key} has a passphrase, which Offload does not ask for, and no ssh agent here holds the key."
    start = "" if asked is not None and asked.returncode < 2 else 'eval "$(ssh-agent)"; '
    return text, f"{start}ssh-add {key}"


def _has_passphrase(key: Path) -> bool:
    done = _run(["ssh-keygen", "-y", "-P", "", "-f", str(key)])
    return done is not None and done.returncode != 0 and "passphrase" in done.stderr


def _run(argv: list[str]) -> subprocess.CompletedProcess[str] | None:
    """Run one of OpenSSH's programs without letting it ask; None: it is not installed."""
    try:
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def command(path: str = USUAL) -> str:
    """Return the command that makes a key."""
    return f"ssh-keygen -t ed25519 -N '' -f {path}"


def make(where: str = "") -> LocalKey:
    """Make a key without a passphrase; one that is there is left as it is. Raises `NotConfigured`."""
    path = Path(where or USUAL).expanduser()
    found = _read(path)
    if found is not None:
        return found
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "offload", "-f", str(path)]
    try:
        # It asks before it overwrites: without a terminal it refuses.
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotConfigured(
            f"Making the ssh key {path} failed: {error}.", hint="Is OpenSSH installed?"
        ) from error
    found = _read(path)
    if done.returncode or found is None:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise NotConfigured(f"Making the ssh key {path} failed: {said[-1] if said else 'no key came of it'}.")
    return found


def expiry(profile: Mapping[str, Any], public: str) -> float | None:
    """Return when a key's entry in an OS Login profile ends (seconds since 1970), or None: it has none.

    Infinite without an end.
    """
    ends = [
        float(one["expirationTimeUsec"]) / 1e6 if one.get("expirationTimeUsec") else float("inf")
        for one in (profile.get("sshPublicKeys") or {}).values()
        if str(one.get("key", "")).split()[:2] == public.split()[:2]
    ]
    return max(ends, default=None)


def fingerprint(profile: Mapping[str, Any], public: str) -> str:
    """Return under which name a key is in an OS Login profile; empty: it is not."""
    for name, one in (profile.get("sshPublicKeys") or {}).items():
        if str(one.get("key", "")).split()[:2] == public.split()[:2]:
            return str(name)
    return ""


def has_expired(end: float) -> bool:
    """Return whether an end has passed."""
    return end <= time.time()


def username(profile: Mapping[str, Any]) -> str:
    """Return the account's user name on machines, or an empty text: it gets one with its first key."""
    accounts = profile.get("posixAccounts") or []
    primary = [one for one in accounts if one.get("primary")] or accounts
    return str(primary[0].get("username", "")) if primary else ""
