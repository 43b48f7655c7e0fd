"""Which providers there are; tests add their own. A provider's module is imported when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, cast

from jobs.errors import NotConfigured
from jobs.providers.base import CloudProvider, WorkerProvider

PROVIDERS: dict[str, str] = {
    "local": "jobs.providers.local:LocalProvider",
    "ssh": "jobs.providers.ssh:SshProvider",
    "gce-cos": "jobs.providers.gce.provider:GceCosProvider",
}


def find(kind: str) -> type[WorkerProvider]:
    """Return the class of a kind of provider. Raises `NotConfigured` for an unknown kind."""
    try:
        module, _, name = PROVIDERS[kind].partition(":")
    except KeyError:
        raise NotConfigured(
            f"There is no provider {kind!r}.", hint=f"Known providers: {', '.join(sorted(PROVIDERS))}."
        ) from None
    return cast("type[WorkerProvider]", getattr(import_module(module), name))


def make(kind: str, config: Mapping[str, Any]) -> WorkerProvider:
    """Return a provider for one configuration.

    `config` is the worker's own, with `name` (the worker's) and `home` (where Offload keeps its state).
    Raises `NotConfigured` when the kind is unknown or the configuration does not make sense.
    """
    build = cast("Callable[[Mapping[str, Any]], WorkerProvider]", find(kind))
    return build(config)


# Kinds whose machines Offload makes, and what its life cycle needs of them.
CLOUDS: dict[str, str] = {
    "gce-cos": "jobs.providers.gce.cloud:GceCloud",
}


def is_cloud(kind: str) -> bool:
    """Tell whether Offload makes the machines of a kind."""
    return kind in CLOUDS


def make_cloud(kind: str, config: Mapping[str, Any]) -> CloudProvider | None:
    """Return what makes machines of a kind; None for a kind whose machines are not ours to make."""
    if not is_cloud(kind):
        return None
    build = cast("Callable[[Mapping[str, Any]], CloudProvider]", _cloud_class(kind))
    return build(config)


def prepare_cloud(kind: str) -> None:
    """Load what a kind of cloud needs for its first request; blocks. Raises `NotConfigured`."""
    if is_cloud(kind):
        _cloud_class(kind).prepare()


def _cloud_class(kind: str) -> type[CloudProvider]:
    module, _, name = CLOUDS[kind].partition(":")
    return cast("type[CloudProvider]", getattr(import_module(module), name))
