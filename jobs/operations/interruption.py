"""Ctrl-C while a machine is changed: report where that leaves it and how to continue, because it may cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from jobs.errors import OffloadError
from jobs.models import Worker


class Interrupted(OffloadError):
    """The user interrupted the command; what was requested of the provider continues there."""

    code = "interrupted"
    exit_code = 130


@asynccontextmanager
async def explain_interruption(doing: str, name: str, again: str, otherwise: str = "") -> AsyncIterator[None]:
    """Turn a cancellation within the block into `Interrupted`, with the state of the worker at that moment.

    `doing`: what was interrupted ("resizing box"). `again`: the words after `fleet` that continue.
    `otherwise`: another command that may be wanted, as a part of a sentence.
    """
    try:
        yield
    except asyncio.CancelledError as cut:
        row = await Worker.objects.filter(name=name).afirst()
        state = f"{name} is {row.state}. {row.state_detail}".rstrip() if row else f"There is no {name} yet."
        raise Interrupted(
            f"Interrupted while {doing}. {state}",
            hint=f"`offload fleet {again}` continues from there{f'; {otherwise}' if otherwise else ''}.",
        ) from cut
