"""The settings that hold, with the layer that set each: the environment, `config.toml` or the default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from typing_extensions import TypedDict


class SettingJson(TypedDict):
    """A setting's value, and where it was set: a variable's name, a file, or `default`."""

    value: Any
    source: str


def list_settings() -> Mapping[str, SettingJson]:
    """Return each setting by its key. An address of a database is left out: it may hold a password."""
    config = settings.OFFLOAD
    hidden = {"database_url": "(set)"} if config.values["database_url"] else {}
    return {
        key: {"value": hidden.get(key, value), "source": config.sources[key]}
        for key, value in config.values.items()
    }
