"""Whether a machine is the one we know: what its host key means, and pinning it at first contact."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from jobs.errors import HostKeyMismatch
from jobs.transport.endpoint import SshEndpoint
from jobs.transport.host_keys import HostKey, host_name, pin_key, pinned_keys

logger = logging.getLogger("offload.transport")


def pinned(endpoint: SshEndpoint, port: int) -> list[HostKey]:
    """Return the keys that Offload has pinned for a machine."""
    return pinned_keys(endpoint.known_hosts, host_name(endpoint.config_host, port))


def refusal(
    endpoint: SshEndpoint, port: int, offered: HostKey, known: Sequence[HostKey], where: Path
) -> HostKeyMismatch | None:
    """Return why a key that is none of the `known` ones (of the file `where`) is refused, or None."""
    name = host_name(endpoint.config_host, port)
    start = f"Connecting to {endpoint} failed: its host key"
    if known:
        kinds = sorted({one.kind for one in known})
        if offered.kind not in kinds:
            return HostKeyMismatch(
                f"{start} {offered.fingerprint} is of another type ({offered.kind}) than those that {where} "
                f"has for it ({', '.join(kinds)}); the server offers none of these.",
                hint="Check the fingerprint on the machine itself, then add the line "
                f"'{name} {offered}' to {where}.",
            )
        expected = ", ".join(dict.fromkeys(f"{one.fingerprint} ({one.kind})" for one in known))
        return HostKeyMismatch(
            f"{start} is {offered.fingerprint} ({offered.kind}), and {expected} is pinned in {where}.",
            hint="If the machine was created again, check the new fingerprint on the machine itself, then "
            f"forget the old key: ssh-keygen -f '{where}' -R '{name}'. "
            "If it was not, another machine may be intercepting the connection.",
        )
    if not endpoint.pin_new_host:
        return HostKeyMismatch(
            f"{start} {offered.fingerprint} ({offered.kind}) is not in {where}, "
            "and unknown hosts are refused here.",
            hint=f"Check the fingerprint, then add the line '{name} {offered}' to {where}.",
        )
    return None


def pin_first(endpoint: SshEndpoint, port: int, key: HostKey) -> None:
    """Pin a machine's key unless one is pinned, or new hosts are not to be. Raises `OSError`."""
    if not endpoint.pin_new_host or pinned(endpoint, port):
        return
    pin_key(endpoint.known_hosts, host_name(endpoint.config_host, port), key)
    logger.warning(
        "First contact with %s: its host key is %s (%s), now pinned in %s",
        endpoint, key.fingerprint, key.kind, endpoint.known_hosts,
    )  # fmt: skip
