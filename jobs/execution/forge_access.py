"""The API of a repository's forge: its address, its token, and kept answers with their ETags."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.conf import settings

from jobs.execution.secrets import store
from jobs.forges import registry
from jobs.forges.base import host, repository_path
from jobs.forges.pulls import ForgeClient
from jobs.models import Repository

PROGRAM_SECONDS = 10.0
# The program of a forge that tells the token of a host, which is its last word.
_PROGRAMS = {
    "github": ("gh", "auth", "token", "--hostname"),
    "gitlab": ("glab", "config", "get", "token", "--host"),
}
MOST_ANSWERS = 500


@asynccontextmanager
async def open_forge(
    repository: Repository, *, writing: bool = False
) -> AsyncIterator[tuple[ForgeClient, str]]:
    """Open the API of a repository's forge; yields the client and the repository's path there.

    `writing`: with the token that only the outbox uses, where there is one.

    Raises `NotConfigured` when the forge has no client.
    """
    name = host(repository.url)
    forge = registry.get(repository.forge)
    token = (
        (await read_token(forge.kind, name, writing=writing))[0] if registry.has_client(forge.kind) else ""
    )
    api = registry.api_of(forge.kind, name, settings.OFFLOAD.forge_apis, token)
    client = registry.open_client(forge.kind, api, _Answers(settings.OFFLOAD.home / "forge-answers", token))
    try:
        yield client, repository_path(repository.url)
    finally:
        await client.aclose()


async def read_token(kind: str, name: str, *, writing: bool = False) -> tuple[str, str]:
    """Return the token of exactly this host, and where it is from; both empty without one.

    The environment or the kept secret counts first, then the forge's own program. `writing`: the token that
    only the outbox uses counts before all.
    """
    forge, url = registry.get(kind), f"https://{name}"
    for secret in (forge.write_token_name(url) if writing else "", forge.token_name(url)):
        if secret and (kept := await asyncio.to_thread(store().get, secret)):
            return kept, secret
    words = _PROGRAMS.get(kind)
    if words is None:
        return "", ""
    try:
        process = await asyncio.create_subprocess_exec(
            *words, name,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    except OSError:
        return "", ""
    try:
        async with asyncio.timeout(PROGRAM_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return "", ""
    token = output.decode(errors="replace").strip() if process.returncode == 0 else ""
    return (token, f"`{' '.join(words[:-1])}`") if token else ("", "")


class _Answers(MutableMapping[str, Any]):
    """Answers of the forge by address, one private file each; those of another token are not found."""

    def __init__(self, folder: Path, token: str) -> None:
        self._folder = folder
        self._owner = sha256(token.encode()).hexdigest()

    def __getitem__(self, url: str) -> Any:
        try:
            return tuple(json.loads(gzip.decompress(self._path(url).read_bytes())))
        except (OSError, ValueError, EOFError):
            raise KeyError(url) from None

    def __setitem__(self, url: str, answer: Any) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._path(url).with_suffix(f".{os.getpid()}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with open(os.open(draft, flags, 0o600), "wb") as file:
            file.write(gzip.compress(json.dumps(answer).encode(), 1))
        draft.replace(self._path(url))
        kept = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in kept[:-MOST_ANSWERS]:
            path.unlink(missing_ok=True)

    def __delitem__(self, url: str) -> None:
        self._path(url).unlink(missing_ok=True)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def _path(self, url: str) -> Path:
        return self._folder / sha256(f"{self._owner} {url}".encode()).hexdigest()
