"""A strict GitHub, and its token in the environment."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from jobs.forges.github import client
from tests.support.github import TOKEN, GitHub, github


@pytest.fixture
def forge(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[GitHub]:
    monkeypatch.setattr(client, "WRITE_SECONDS", 0.0)
    monkeypatch.setenv("GIT_TOKEN_GITHUB_TEST", TOKEN)
    with github() as server:
        values = settings.OFFLOAD.values | {"forge_apis": (f"github.test={server.url}",)}
        settings.OFFLOAD = replace(settings.OFFLOAD, home=tmp_path, values=values)
        server.add(
            1, threads=[{"id": "T", "isResolved": False, "path": "app.txt", "line": 3, "body": "Old  news"}]
        )
        yield server
