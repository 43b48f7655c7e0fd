"""Host keys that a machine published by way of its provider: pinned before the first contact."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.transport.endpoint import SshEndpoint
from jobs.transport.host_keys import SSH_PORT, HostKey, host_name, pin_key, pinned_keys


def pin_published(endpoint: SshEndpoint, keys: Sequence[str]) -> None:
    """Pin the keys (`ssh-ed25519 AAAA...` each) for an endpoint, unless they are pinned already."""
    # Under the name that the line looks for, however the machine is reached.
    name = host_name(endpoint.config_host, endpoint.port or SSH_PORT)
    known = pinned_keys(endpoint.known_hosts, name)
    for line in keys:
        if len(line.split()) < 2:
            continue
        key = HostKey.parse(line)
        if key not in known:
            pin_key(endpoint.known_hosts, name, key)


def is_pinned(endpoint: SshEndpoint) -> bool:
    """Tell whether any key is pinned for an endpoint."""
    name = host_name(endpoint.config_host, endpoint.port or SSH_PORT)
    return bool(pinned_keys(endpoint.known_hosts, name))
