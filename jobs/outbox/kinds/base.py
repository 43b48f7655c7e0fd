"""The contract of a kind of draft."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from asgiref.sync import sync_to_async

from jobs.errors import Refused
from jobs.execution.pull_requests import write_details
from jobs.forges.pulls import ForgeClient, Posted, Pull
from jobs.models import Draft, Repository
from jobs.outbox.preview import Preview


class Place:
    """A repository on its forge during one preview or one attempt. What it read is not read again."""

    def __init__(self, client: ForgeClient, slug: str, repository: Repository) -> None:
        self.client, self.slug, self.repository = client, slug, repository
        self._pulls: dict[int, Pull] = {}
        self._files: dict[int, Mapping[str, str]] = {}

    async def pull(self, draft: Draft) -> Pull:
        """Return the pull request of a draft. Raises `Refused` when the draft has none."""
        number = number_of(draft)
        if number not in self._pulls:
            self._pulls[number] = await self.client.get(self.slug, number)
            await sync_to_async(write_details)(self.repository, self._pulls[number])
        return self._pulls[number]

    async def files(self, draft: Draft) -> Mapping[str, str]:
        """Return the changed files of a draft's pull request with their patch."""
        number = number_of(draft)
        if number not in self._files:
            self._files[number] = await self.client.files(self.slug, number)
        return self._files[number]


class Kind(ABC):
    """One kind of draft. Only `post` writes to the forge."""

    @abstractmethod
    async def prepare(self, place: Place, draft: Draft) -> Preview:
        """Return the draft exactly as it would appear now. Raises `Refused` when it cannot be posted so."""

    @abstractmethod
    async def find(self, place: Place, draft: Draft) -> Posted | None:
        """Return what an earlier attempt has posted, or None. May discard what it left unfinished."""

    @abstractmethod
    async def post(self, place: Place, draft: Draft, shown: Preview) -> Posted:
        """Post the draft as `shown`. After `ForgeUnreachable` it may be posted; after `Refused` it is not."""


def number_of(draft: Draft) -> int:
    """Return the number of a draft's pull request. Raises `Refused`."""
    if draft.number is None:
        raise Refused(f"Draft {draft.id} has no pull request.")
    return draft.number
