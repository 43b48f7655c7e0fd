"""Host keys that a machine published by way of its provider: pinned before the first contact."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.transport.endpoint import SshEndpoint
from jobs.transport.host_keys import SSH_PORT, HostKey, host_name, pin_key, pinned_keys


def pin_published(endpoint: SshEndpoint, keys: Sequence[str]) -> None:
    """Pin the keys (`ssh-ed25519 AAAA...` each) for an endpoint, unless they are pinned already."""
    name = host_name(endpoint.host or endpoint.config_host, endpoint.port or SSH_PORT)
    known = pinned_keys(endpoint.known_hosts, name)
    for line in keys:
        if len(line.split()) < 2:
            continue
        key = HostKey.parse(line)
        if key not in known:
            pin_key(endpoint.known_hosts, name, key)
