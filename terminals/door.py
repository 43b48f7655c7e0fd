"""The one way from a terminal to its job: what the bridge needs of the rooms below, as an interface.

The product uses `WorkersDoor`; the benchmark opens plain shells through the same bridge with its own door.
"""

from __future__ import annotations

from typing import Literal, Protocol

from jobs import workers
from jobs.errors import NotFound
from jobs.workers import Parts, Pty, PtyReceiver, SessionInfo, Size, TerminalRequest

Kind = Literal["session", "shell"]
HISTORY_LINES = 5000


class Door(Protocol):
    """How the bridge reaches a job. Every method raises `OffloadError`."""

    async def open(self, request: TerminalRequest, receiver: PtyReceiver, size: Size) -> Pty:
        """Attach a terminal."""

    async def history(self, job_id: int, kind: Kind) -> bytes:
        """Return the lines that scrolled off the session's screen, separated by newlines."""

    async def info(self, job_id: int, kind: Kind) -> SessionInfo | None:
        """Return what the session is doing and who is attached; None when there is no session yet."""

    async def note(self, job_id: int, what: str, actor: str, **data: object) -> None:
        """Record that a terminal was attached or detached."""

    async def call_attention(self, job_id: int, text: str) -> None:
        """Record that the session asks for a human."""

    async def ending(self, job_id: int) -> Parts:
        """Return when and why the machine will stop soon, as a text with moments in it; else nothing."""


class WorkersDoor:
    """The door of `jobs.workers`."""

    async def open(self, request: TerminalRequest, receiver: PtyReceiver, size: Size) -> Pty:
        """See `Door.open`."""
        return await workers.open_terminal(request, receiver, size)

    async def history(self, job_id: int, kind: Kind) -> bytes:
        """See `Door.history`."""
        return await workers.capture_history(job_id, lines=HISTORY_LINES, kind=kind)

    async def info(self, job_id: int, kind: Kind) -> SessionInfo | None:
        """See `Door.info`. A side shell that nobody has opened yet has no session: that is no error."""
        try:
            return await workers.session_info(job_id, kind)
        except NotFound:
            return None

    async def note(self, job_id: int, what: str, actor: str, **data: object) -> None:
        """See `Door.note`."""
        await workers.note_terminal(job_id, what, actor, **data)

    async def call_attention(self, job_id: int, text: str) -> None:
        """See `Door.call_attention`."""
        await workers.request_attention(job_id, text)

    async def ending(self, job_id: int) -> Parts:
        """See `Door.ending`."""
        return await workers.ending(job_id)
