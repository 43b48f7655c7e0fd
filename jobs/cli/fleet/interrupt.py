"""Ctrl-C while a machine is changed: where that leaves it, and how to go on: it costs, or it is missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from jobs.errors import OffloadError
from jobs.models import Worker


class Interrupted(OffloadError):
    """The command was interrupted by its user; what was asked of the provider goes on there."""

    code = "interrupted"
    exit_code = 130


@asynccontextmanager
async def told(doing: str, name: str, again: str, back: str = "") -> AsyncIterator[None]:
    """Turn Ctrl-C within the block into `Interrupted`, which says what the worker's row says by then.

    `doing`: what was under way ("resizing box"); `again`: the command's words after `fleet` that go on;
    `back`: what else one may want to do.
    """
    try:
        yield
    except asyncio.CancelledError as cut:
        row = await Worker.objects.filter(name=name).afirst()
        state = f"{name} is {row.state}. {row.state_detail}".rstrip() if row else f"There is no {name} yet."
        raise Interrupted(
            f"Interrupted while {doing}. {state}",
            hint=f"`manage.py fleet {again}` goes on from there{f'; {back}' if back else ''}.",
        ) from cut
