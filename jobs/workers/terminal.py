"""Terminals on a job: the session itself, or a side shell in its worktree.

A side shell is a tmux session of its own, `side-<session>`: it survives like the job's session, and goes
when the job's files go.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jobs.errors import CommandFailed, NotFound, Refused, UsageError
from jobs.models import Job, JobEvent
from jobs.remote.layout import side_session
from jobs.states import JOB_ACTIVE, Attention, JobState, WorkerState
from jobs.transitions import aset_attention
from jobs.transport.base import Pty, PtyReceiver, Size
from jobs.workers.connection import Connection, connect
from jobs.workers.idle import Parts, idle_of
from jobs.workers.lifecycle import get_job
from jobs.workers.machines import is_cloud

TERMINAL_DEADLINE = 20.0
MAX_UPLOAD = 64 * 1024 * 1024

Kind = Literal["session", "shell"]

# What Debian's ncurses-base installs everywhere, without the types that tmux cannot draw on.
_BASE_TERMS = re.compile(
    r"(xterm|screen|tmux)(-256color)?|xterm-(color|mono|vt220|xfree86)|rxvt(-basic)?|linux|vt(100|102|220)|cygwin"
)


@dataclass(frozen=True)
class TerminalRequest:
    """Which terminal, and how to attach. `ignore_size`: this viewer's size does not count."""

    job_id: int
    kind: Kind = "session"
    read_only: bool = False
    ignore_size: bool = False
    term: str = "xterm-256color"


@dataclass(frozen=True)
class Viewer:
    """One attached client, as tmux lists it."""

    tty: str
    size: Size
    read_only: bool
    ignores_size: bool
    active_at: int


@dataclass(frozen=True)
class SessionInfo:
    """What tmux knows about a session.

    `history`: the lines that scrolled off its screen, with their colours. The visible screen is not part of
    it: tmux draws that when a client attaches.
    """

    session: str
    size: Size
    title: str
    alternate: bool
    dead: bool
    viewers: tuple[Viewer, ...]
    history: bytes = b""


@dataclass(frozen=True)
class TerminalJob:
    """What a terminal's page says about its job. `label`: the target and the action, as listed.

    `can_resume`: its session has ended, and can begin again; `can_start`: its machine is stopped.
    """

    session: str
    label: str
    repository: str
    worker: str
    worktree: str
    can_resume: bool = False
    can_start: bool = False


async def terminal_job(job_id: int) -> TerminalJob:
    """Return what a terminal's page shows of its job. Raises `NotFound`."""
    job = await get_job(job_id)
    label = " ".join(part for part in (job.target, job.action, job.name) if part)
    return TerminalJob(
        job.session, label, job.repository.slug, job.worker.name, job.worktree,
        can_resume=job.can_resume,
        can_start=is_cloud(job.worker) and job.worker.state == WorkerState.STOPPED,
    )  # fmt: skip


def _session(job: Job, kind: Kind) -> str:
    return job.session if kind == "session" else side_session(job.session)


def _require_files(job: Job) -> None:
    if job.removed_at is not None:
        raise NotFound(
            f"The job {job.session} was removed from its worker; only its record is left.",
            hint="Start it again with `manage.py offload`.",
        )
    if job.state in (JobState.QUEUED, JobState.PREPARING):
        raise Refused(
            f"The job {job.session} has no session yet: it is {job.state}.",
            hint="Wait until it runs; the page shows it.",
        )


async def open_terminal(
    request: TerminalRequest, receiver: PtyReceiver, size: Size, *, exists: bool | None = None
) -> Pty:
    """Attach a new terminal of `size` to a job.

    `exists`: whether its tmux session exists, as `read_session` said; None: check that first. Costs at most
    one remote command besides the attach; only the first side shell in a container may cost more.

    Raises `NotFound` (no such job, or its session is gone), `Refused` (not started yet), or a transport
    error. The connection to the worker is shared by all its terminals and stays open after this one.
    """
    job = await get_job(request.job_id)
    _require_files(job)
    async with connect(job.worker) as connection:
        layout = connection.layout
        session = _session(job, request.kind)
        if request.kind == "session" and exists is None:
            await _require_session(connection, job)
        if request.kind == "session" or exists:
            argv = layout.attach_argv(session, read_only=request.read_only, ignore_size=request.ignore_size)
        else:
            # A job's dead pane shows why it died; a side shell that its user left is closed.
            argv = layout.tmux_argv(
                "new-session", "-A", "-s", session, "-c", job.worktree or layout.root,
                *await _side_command(connection, job),
                ";", "set-option", "-w", "-t", f"={session}:", "remain-on-exit", "off",
            )  # fmt: skip
        return await connection.transport.open_pty(argv, receiver, size=size, term=_known_term(request.term))


def _known_term(term: str) -> str:
    """Return a terminal type that every worker's terminfo has: `term` itself, or xterm-256color.

    tmux refuses to start on a type that the worker does not know, and on `dumb`. Newer emulators
    (xterm-ghostty, xterm-kitty, alacritty, foot) understand everything that xterm-256color promises.
    """
    return term if _BASE_TERMS.fullmatch(term) else "xterm-256color"


async def _side_command(connection: Connection, job: Job) -> list[str]:
    """Return the command of a side shell: none (the user's own shell), or the way into the container."""
    if connection.container is None:
        return []
    await connection.client.hello()  # The runner of this version may not be there yet.
    return connection.client.shell_argv(job.session)


async def _require_session(connection: Connection, job: Job) -> None:
    try:
        await _run_tmux(connection, job, ["has-session", "-t", f"={job.session}"])
    except CommandFailed as error:
        raise _session_gone(job, "session") from error


async def _run_tmux(connection: Connection, job: Job, words: Sequence[str]) -> bytes:
    """Run tmux commands on the worker and return what they print. Raises `CommandFailed`.

    When no server answers, the runner gets to find a living server whose socket was removed; then once more.
    """
    argv = connection.layout.tmux_argv(*words)
    try:
        return (await connection.transport.run(argv, deadline=TERMINAL_DEADLINE)).stdout
    except CommandFailed as error:
        if not _NO_SERVER.search(error.stderr):
            raise
    await connection.client.status()
    return (await connection.transport.run(argv, deadline=TERMINAL_DEADLINE)).stdout


def _session_gone(job: Job, kind: Kind) -> NotFound:
    if kind == "shell":
        hint = "It starts when its page is opened."
    elif job.state in JOB_ACTIVE or job.state == JobState.INTERRUPTED:
        hint = "Resume it with the same `manage.py offload` command."
    else:
        hint = "Its logs and verdict are on its page; `--fresh` runs it again."
    return NotFound(f"The tmux session {_session(job, kind)} does not exist on {job.worker}.", hint=hint)


# Spaces, because tmux replaces control characters in what it prints.
_FIELDS = " ".join(
    ["#{window_width}", "#{window_height}", "#{alternate_on}", "#{pane_dead}", "#{pane_title}"]
)
_CLIENT_FIELDS = " ".join(
    ["#{client_tty}", "#{client_width}", "#{client_height}", "#{client_flags}", "#{client_activity}"]
)
_NO_SERVER = re.compile(rb"no server running|error connecting")
_HISTORY_FOLLOWS = b"= history ="


async def read_session(job_id: int, kind: Kind = "session", *, lines: int = 5000) -> SessionInfo:
    """Return what tmux knows about a job's session, its clients and its history, in one remote command.

    `lines`: how many lines of history to read. Raises `NotFound` when there is no such session.
    """
    job = await get_job(job_id)
    _require_files(job)
    async with connect(job.worker) as connection:
        session = _session(job, kind)
        words = [
            "display-message", "-p", "-t", f"={session}:", _FIELDS,
            ";", "list-clients", "-t", f"={session}", "-F", _CLIENT_FIELDS,
            ";", "display-message", "-p", "-t", f"={session}:", _HISTORY_FOLLOWS.decode(),
            ";", "capture-pane", "-p", "-e", "-S", f"-{lines}", "-E", "-1", "-t", f"={session}:",
        ]  # fmt: skip
        try:
            printed = await _run_tmux(connection, job, words)
        except CommandFailed as error:
            raise _session_gone(job, kind) from error
    facts, _, history = printed.partition(_HISTORY_FOLLOWS + b"\n")
    first, *rest = facts.decode(errors="replace").splitlines()
    width, height, alternate, dead, title = first.split(" ", 4)
    return SessionInfo(
        session=session,
        size=Size(int(width), int(height)),
        title=title,
        alternate=alternate == "1",
        dead=dead == "1",
        viewers=tuple(_viewer(line) for line in rest),
        history=history,
    )


def _viewer(line: str) -> Viewer:
    tty, width, height, flags, active = line.split(" ")
    words = flags.split(",")
    return Viewer(
        tty,
        Size(int(width or 0), int(height or 0)),
        "read-only" in words,
        "ignore-size" in words,
        int(active),
    )


async def note_terminal(job_id: int, what: str, actor: str, **data: object) -> None:
    """Write an audit event: a terminal was attached to or detached from a job."""
    await JobEvent.objects.acreate(job_id=job_id, kind=f"terminal_{what}", actor=actor, data=data)


async def ending(job_id: int) -> Parts:
    """Return when the machine under a job stops, if that is soon, and why; nothing when it is not.

    Raises `NotFound`.
    """
    said = idle_of((await get_job(job_id)).worker)
    return said.parts if said is not None and said.is_soon() else []


async def request_attention(job_id: int, detail: str) -> bool:
    """Record that the program in the session rang for a human. Returns False when it already was so."""
    return await aset_attention(job_id, Attention.INPUT, detail=detail)


async def upload_file(job_id: int, name: str, data: bytes) -> str:
    """Put a file into the top of the job's worktree; return the name it got.

    A file that is already there is never overwritten: the new one gets a number. Raises `UsageError`
    (a name with a path in it, too large).
    """
    if not name or name in (".", "..") or "/" in name or "\0" in name or len(name.encode()) > 200:
        raise UsageError(f"{name!r} is not a file name.", hint="Upload one file by its own name.")
    if len(data) > MAX_UPLOAD:
        raise UsageError(
            f"Uploading {name} failed: it has {len(data)} bytes, the limit is {MAX_UPLOAD}.",
            hint="Use `scp` for files this large.",
        )
    job = await get_job(job_id)
    _require_files(job)
    async with connect(job.worker) as connection:
        candidate = await connection.client.put_file(job.session, name, data)
    await JobEvent.objects.acreate(
        job=job, kind="file_uploaded", data={"name": candidate, "bytes": len(data)}
    )
    return candidate


async def download_file(job_id: int, path: str) -> bytes:
    """Return a file of the job's worktree. Raises `NotFound`, or `Refused` for a path that leads out."""
    job = await get_job(job_id)
    _require_files(job)
    async with connect(job.worker) as connection:
        return await connection.client.get_file(job.session, path, limit=MAX_UPLOAD)
