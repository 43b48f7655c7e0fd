"""Between one browser and one terminal: two directions, one window of flow control.

Towards the browser (`outbox`): Daphne's `send` returns before anything is written, so the only measure of
what the browser can take are its own acknowledgements (`flow`): beyond the window the terminal is paused,
and with it the ssh channel and tmux. Towards the terminal: `inbox`. Whether anybody is there: `pulse`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from jobs import workers
from jobs.errors import NotFound, OffloadError, Refused, TransportError
from jobs.workers import Kind, Pty, SessionInfo, Size, TerminalRequest
from terminals import frames
from terminals.attachment import Attachment, Role, as_scrollback, choose_role, shown_size
from terminals.frames import Close, FrameError
from terminals.inbox import Inbox
from terminals.outbox import Outbox, Send
from terminals.pulse import DEAD_AFTER, Pulse

log = logging.getLogger(__name__)
audit = logging.getLogger("offload.audit")
READ_OUT_SECONDS = 1.0


class Bridge:
    """One open terminal in one browser tab.

    `on_change` is called when something happened that other viewers of the session must know.
    """

    __slots__ = (
        "_attach_lock",
        "_attachment",
        "_closed",
        "_confirmed",
        "_inbox",
        "_number",
        "_outbox",
        "_paused",
        "_pulse",
        "_refused_input",
        "_tasks",
        "_was_attached",
        "actor",
        "job_id",
        "kind",
        "noting",
        "on_change",
        "on_take",
        "pump",
        "requested",
        "role",
        "say",
        "since",
        "size",
        "tab",
    )  # fmt: skip

    def __init__(
        self,
        *,
        job_id: int,
        kind: Kind,
        actor: str,
        opening: frames.Opening,
        send: Send,
        direct: Callable[[bytes], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.job_id = job_id
        self.kind: Kind = kind
        self.actor = actor
        self.tab = opening.tab
        self.requested = Role(opening.mode)
        self.role = self.requested
        self.size = Size(opening.size.columns, opening.size.rows)
        self.since = time.time()
        self.on_change: Callable[[], None] = lambda: None
        self.on_take: Callable[[], Coroutine[Any, Any, None]] | None = None
        self.noting: asyncio.Future[None] | None = None  # its coming being written down
        self._tasks: set[asyncio.Task[None]] = set()
        self._outbox = Outbox(send, direct)
        self.say = self._outbox.say
        self.pump = self._outbox.pump
        self._inbox = Inbox(self.start, self.say)
        self._pulse = Pulse(clock)
        self._attachment: Attachment | None = None
        self._attach_lock = asyncio.Lock()
        self._closed = False
        self._was_attached = False
        self._number = 0  # of the `ready` frame sent last
        self._confirmed = 0  # of the one that the browser has read
        self._paused = False
        self._refused_input = False

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task that is cancelled when the terminal closes; its failure closes the terminal."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed(error)

    def output(self, data: bytes) -> None:
        """Queue the terminal's bytes for the browser; pause the terminal when too much is under way."""
        self._outbox.put(data)
        if not self._paused and self._outbox.flow.full:
            self._paused = True
            if self._pty is not None:
                self._pty.pause_reading()

    def close(self, close: Close, code: str, message: str, hint: str = "", *, retry: bool = False) -> None:
        """Tell the browser why, and close the socket."""
        if not self._outbox.closing:
            self.say(frames.error(close, code, message, hint, retry=retry))
            self._outbox.close(int(close))

    def _resume(self) -> None:
        if self._paused and self._outbox.flow.open:
            self._paused = False
            if self._pty is not None:
                self._pty.resume_reading()

    @property
    def _pty(self) -> Pty | None:
        return self._attachment.pty if self._attachment is not None else None

    def input(self, data: bytes) -> None:
        """Take bytes that the user typed or pasted. Raises `FrameError`."""
        self._pulse.heard()
        if len(data) > frames.MAX_INPUT:
            raise FrameError(
                Close.OVERSIZE, f"A frame of input has {len(data)} bytes; the limit is {frames.MAX_INPUT}."
            )
        if self.role is Role.WATCH:
            if not self._refused_input:
                self._refused_input = True
                audit.warning("%s typed into job %s, watching only: refused", self.actor, self.job_id)
                self.say(frames.control("refused", message="You are watching: what you type goes nowhere."))
            return
        if self._confirmed != self._number and frames.is_reply(data):
            return  # to a question of the terminal that was attached before
        if data[:1] == b"\x1b" and self._attachment is not None and not self._attachment.expects(data):
            return
        self._inbox.take(data, self._pty)

    def handle(self, message: frames.Control) -> None:
        """Act on a control frame. Raises `FrameError`."""
        self._pulse.heard()
        match message:
            case frames.Ack(count):
                flow = self._outbox.flow
                if not flow.acknowledge(count):
                    raise FrameError(Close.MALFORMED, f"`ack` of {count}, but {flow.sent} were sent.")
                self._resume()
            case frames.Resize(columns, rows):
                self.resize(Size(columns, rows))
            case frames.Ping(number):
                self.say(frames.control("pong", id=number))
            case frames.Pong(number):
                seconds = self._pulse.pong(number)
                if seconds is not None:
                    self._outbox.flow.measured(seconds)
            case frames.Take():
                if self.role is Role.WATCH:
                    raise FrameError(Close.NOT_ALLOWED, "A watching terminal cannot take over.")
                if self.on_take is not None:
                    self.start(self.on_take())
            case frames.Attach():
                self.start(self.attach(self.role if self._was_attached else None))
            case frames.Attached(number):
                self._confirmed = number
            case frames.Info():
                self.start(self._tell_info())
            case frames.AttentionCall(text):
                if self.role is not Role.WATCH:
                    self.start(self._call_attention(text))

    def resize(self, size: Size) -> None:
        """Give the terminal a new size; an unchanged one does nothing."""
        if size == self.size:
            return
        self.size = size
        if self._pty is not None:
            self._pty.resize(size)
        if self.role is Role.DRIVE:
            self.on_change()

    async def _tell_info(self) -> None:
        with contextlib.suppress(OffloadError):
            info = await self._session()
            if info is not None:
                self.say(frames.control("info", alternate=info.alternate, dead=info.dead, title=info.title))

    async def _call_attention(self, text: str) -> None:
        with contextlib.suppress(OffloadError):
            await workers.request_attention(self.job_id, text or "The terminal rang.")

    async def attach(self, role: Role | None = None) -> None:
        """Attach to the session, or attach again: history first, then what tmux draws.

        Without a `role` the viewer gets the one that `choose_role` says.
        """
        async with self._attach_lock:
            await self._let_go(READ_OUT_SECONDS if role is self.role else 0.0)
            try:
                info = await self._session()
                self.role = role or choose_role(self.requested, info)
                await self._open(info)
            except OffloadError as error:
                self._attach_failed(error)
        self.on_change()

    async def _session(self) -> SessionInfo | None:
        """Return what tmux knows about the session; None for a side shell that was not opened yet."""
        try:
            return await workers.read_session(self.job_id, self.kind)
        except NotFound:
            if self.kind == "shell":
                return None
            raise

    async def _open(self, info: SessionInfo | None) -> None:
        history = info.history if info is not None else b""
        lead = shown_size(info) if self.role is not Role.DRIVE else None
        if lead is not None:
            self.size = lead
        attachment = Attachment(self)
        self._number += 1
        self._outbox.put(self._ready(info, len(history), lead))
        if history:
            self.output(as_scrollback(history, self.size.rows))
        request = TerminalRequest(
            self.job_id,
            self.kind,
            read_only=self.role is Role.WATCH,
            ignore_size=self.role is not Role.DRIVE,
        )
        size = self.size
        self._attachment = attachment
        try:
            pty = attachment.pty = await workers.open_terminal(
                request, attachment, size, exists=info is not None
            )
        except BaseException:
            attachment.retire()
            self._attachment = None
            raise
        self._was_attached = True
        if self._closed:
            await self._let_go()
            return
        if self._attachment is not attachment:  # it ended while it was being opened
            await pty.aclose()
            return
        if self.size != size:
            pty.resize(self.size)
        if self._paused:
            pty.pause_reading()
        self._inbox.deliver(pty)

    def _ready(self, info: SessionInfo | None, history: int, lead: Size | None) -> str:
        session, size = info.session if info else "", [lead.columns, lead.rows] if lead else None
        return frames.control(
            "ready", n=self._number, session=session, kind=self.kind, role=self.role, history=history,
            size=size, ack=self._outbox.flow.sent,
        )  # fmt: skip

    async def _let_go(self, read_out: float = 0.0) -> None:
        """Close the terminal that is attached now and forget what it still had to say.

        `read_out`: how many seconds tmux gets to read what was typed into it. Hung up at once, it loses that.
        """
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            attachment.retire()
            self._outbox.forget_output()
            wait = self._inbox.wrote_at + read_out - asyncio.get_running_loop().time()
            if wait > 0:
                self.start(attachment.aclose(wait))
            else:
                await attachment.aclose()
        self._inbox.stop()
        self._resume()

    def _attach_failed(self, error: OffloadError) -> None:
        log.info("Attaching a terminal to job %s failed: %s", self.job_id, error)
        if isinstance(error, NotFound):
            self.close(Close.NOT_FOUND, error.code, error.message, error.hint)
        elif isinstance(error, Refused):
            self.close(Close.NOT_FOUND, error.code, error.message, error.hint, retry=True)
        else:
            lost = isinstance(error, TransportError) and error.retryable
            self._say_exit(None, lost=lost, message=error.message, hint=error.hint)

    def terminal_ended(self, exit_status: int | None, error: Exception | None) -> None:
        """Tell the browser that the terminal is over, and why."""
        attachment, self._attachment = self._attachment, None
        if attachment is not None and attachment.pty is not None:
            self.start(attachment.pty.aclose())
        self._inbox.drop()
        if error is None:
            self._say_exit(exit_status, lost=False, message="The terminal ended.")
        else:
            hint = error.hint if isinstance(error, OffloadError) else ""
            self._say_exit(exit_status, lost=True, message=str(error), hint=hint)
        self.on_change()

    def _say_exit(self, status: int | None, *, lost: bool, message: str, hint: str = "") -> None:
        self._outbox.put(frames.control("exit", status=status, lost=lost, message=message, hint=hint))

    def lead(self, size: Size | None) -> None:
        """Show the session at the size of the viewer that drives it (None: at this viewer's own)."""
        self.say(frames.control("size", size=[size.columns, size.rows] if size else None))

    def tick(self) -> None:
        """Ping when it is time; give up on a browser that has been silent for too long."""
        if self._pulse.dead:
            message = f"The browser was silent for {DEAD_AFTER:g} s."
            self.close(Close.DEAD_PEER, "dead_peer", message, retry=True)
        elif self._pulse.due:
            self.ping()

    def ping(self) -> None:
        """Measure the round trip, and keep proxies from closing an idle socket."""
        self.say(frames.control("ping", id=self._pulse.ping()))

    def failed(self, error: BaseException) -> None:
        """Log an error of ours and close the socket."""
        log.error("A terminal of job %s failed", self.job_id, exc_info=error)
        hint = "Reconnect; the log has the details."
        self.close(Close.FAILED, "internal", "The server failed.", hint, retry=True)

    async def aclose(self) -> None:
        """Hang up and free everything. Idempotent; whatever was in work is cancelled first."""
        self._closed = True
        pending = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await self._let_go()
        self._outbox.clear()
        self._inbox.drop()
