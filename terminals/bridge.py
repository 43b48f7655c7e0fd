"""Between one browser and one terminal: two directions, one window of flow control.

Towards the browser: the terminal's bytes are queued as they come and sent in frames of at most 64 KiB, each
made of whatever arrived while the loop was busy. There is no timer: the first byte leaves at once. Daphne's
`send` returns before anything is written, so the only measure of what the browser can take are its own
acknowledgements (`flow`): beyond the window the terminal is paused, and with it the ssh channel and tmux.

Towards the terminal: keys are written at once. Large pastes queue up, wait for the far side, and are
acknowledged to the browser (`taken`), which sends no more than it was told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any

from jobs.errors import ConnectionLost, NotFound, OffloadError, Refused, TransportError
from jobs.workers import Pty, SessionInfo, Size, TerminalRequest
from terminals import frames
from terminals.door import Door, Kind
from terminals.flow import FlowWindow
from terminals.frames import Close, FrameError

FRAME = 64 * 1024
KEYS = 4096
"""Bytes of input up to which it counts as typing: written at once when nothing waits before it."""
MAX_INPUT_QUEUE = 1024 * 1024
"""Bytes of input that may wait; the page keeps to a quarter of it."""
PING_EVERY = 20.0
DEAD_AFTER = 45.0

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
log = logging.getLogger(__name__)
audit = logging.getLogger("offload.audit")


class Role(StrEnum):
    """What a viewer may do: type and size, type only, look only."""

    DRIVE = "drive"
    FOLLOW = "follow"
    WATCH = "watch"


class _Attachment:
    """The receiver of one attached terminal; deaf once another one took its place."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge: Bridge | None = bridge
        self.pty: Pty | None = None

    def data_received(self, data: bytes) -> None:
        if self._bridge is not None:
            self._bridge.output(data)

    def closed(self, exit_status: int | None, error: Exception | None) -> None:
        if self._bridge is not None:
            self._bridge.terminal_ended(exit_status, error)

    def retire(self) -> None:
        self._bridge = None


class Bridge:
    """One open terminal in one browser tab.

    `on_change` is called when something happened that other viewers of the session must know.
    """

    def __init__(
        self, *, job_id: int, kind: Kind, actor: str, opening: frames.Opening, door: Door, send: Send
    ) -> None:
        self.job_id = job_id
        self.kind: Kind = kind
        self.actor = actor
        self.tab = opening.tab
        self.wish = Role(opening.mode)
        self.role = self.wish
        self.size = Size(opening.size.columns, opening.size.rows)
        self.since = time.time()
        self.flow = FlowWindow()
        self.paused_seconds = 0.0
        self.on_change: Callable[[], None] = lambda: None
        self.on_take: Callable[[], Awaitable[None]] | None = None
        self._door = door
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._attachment: _Attachment | None = None
        self._attach_lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._out: deque[bytes | str] = deque()
        self._urgent: deque[str] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._closing: int | None = None
        self._closed = False
        self._was_attached = False
        self._number = 0  # of the `ready` frame sent last
        self._confirmed = 0  # of the one that the browser has read
        self._paused_at: float | None = None
        self._in: deque[bytes] = deque()
        self._in_size = 0
        self._taken = 0
        self._writer: asyncio.Task[None] | None = None
        self._refused_input = False
        self.heard_at = self._loop.time()
        self._pinged: dict[int, float] = {}
        self._ping_id = 0
        self.noted = False  # whether its coming was written down
        self._pinged_at = self._loop.time()

    # -- towards the browser ---------------------------------------------------------------------------

    def output(self, data: bytes) -> None:
        """Queue the terminal's bytes for the browser; pause the terminal when too much is under way."""
        self._out.append(data)
        self.flow.add(len(data))
        self._rouse()
        if self._paused_at is None and self.flow.full:
            self._paused_at = self._loop.time()
            self._pty_do(lambda pty: pty.pause_reading())

    def say(self, text: str) -> None:
        """Send a control frame ahead of queued output."""
        self._urgent.append(text)
        self._rouse()

    def close(self, close: Close, code: str, message: str, hint: str = "", *, retry: bool = False) -> None:
        """Tell the browser why, and close the socket."""
        if self._closing is None:
            self.say(frames.error(close, code, message, hint, retry=retry))
            self._closing = int(close)
            self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _next(self) -> Mapping[str, Any] | None:
        if self._urgent:
            return {"type": "websocket.send", "text": self._urgent.popleft()}
        if self._closing is not None:
            return {"type": "websocket.close", "code": self._closing}
        if not self._out:
            return None
        first = self._out.popleft()
        if isinstance(first, str):
            return {"type": "websocket.send", "text": first}
        if len(first) > FRAME:
            self._out.appendleft(first[FRAME:])
            first = first[:FRAME]
        elif self._out:
            parts, size = [first], len(first)
            while self._out:
                following = self._out[0]
                if isinstance(following, str) or size + len(following) > FRAME:
                    break
                parts.append(following)
                size += len(following)
                self._out.popleft()
            first = b"".join(parts)
        return {"type": "websocket.send", "bytes": first}

    async def pump(self) -> None:
        """Send what is queued, until the socket is to be closed. Run this as one task."""
        while True:
            message = self._next()
            if message is None:
                self._wake = self._loop.create_future()
                await self._wake
                self._wake = None
                continue
            await self._send(message)
            if message["type"] == "websocket.close":
                return
            if len(message.get("bytes", b"")) > FRAME // 2:
                await asyncio.sleep(0)  # a flood must not keep others' keys waiting

    def _resume(self) -> None:
        if self._paused_at is not None and self.flow.open:
            self.paused_seconds += self._loop.time() - self._paused_at
            self._paused_at = None
            self._pty_do(lambda pty: pty.resume_reading())

    def _pty_do(self, action: Callable[[Pty], None]) -> None:
        if self._attachment is not None and self._attachment.pty is not None:
            action(self._attachment.pty)

    # -- from the browser ------------------------------------------------------------------------------

    def input(self, data: bytes) -> None:
        """Take bytes that the user typed or pasted. Raises `FrameError`."""
        self.heard_at = self._loop.time()
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
        pty = self._attachment.pty if self._attachment else None
        if pty is not None and not self._in and self._writer is None and len(data) <= KEYS:
            pty.write(data)
            self._taken += len(data)
            return
        if self._in_size + len(data) > MAX_INPUT_QUEUE:
            raise FrameError(Close.OVERSIZE, "More input was sent than the terminal takes.")
        self._in.append(data)
        self._in_size += len(data)
        self._start_writer()

    def _start_writer(self) -> None:
        if self._in and self._writer is None and self._attachment and self._attachment.pty:
            self._writer = self.start(self._write_queued(self._attachment.pty))

    async def _write_queued(self, pty: Pty) -> None:
        try:
            while self._in:
                data = self._in.popleft()
                pty.write(data)
                await pty.drain()
                self._in_size -= len(data)
                self._taken += len(data)
                self.say(frames.control("taken", n=self._taken))
        except ConnectionLost:
            self._drop_input()  # `terminal_ended` tells the rest
        finally:
            self._writer = None

    def _drop_input(self) -> None:
        self._in.clear()
        self._in_size = 0

    async def handle(self, message: frames.Control) -> None:
        """Act on a control frame. Raises `FrameError`."""
        self.heard_at = self._loop.time()
        match message:
            case frames.Ack(count):
                if not self.flow.acknowledge(count):
                    raise FrameError(Close.MALFORMED, f"`ack` of {count}, but {self.flow.sent} were sent.")
                self._resume()
            case frames.Resize(columns, rows):
                self.resize(Size(columns, rows))
            case frames.Ping(number):
                self.say(frames.control("pong", id=number))
            case frames.Pong(number):
                sent = self._pinged.pop(number, None)
                if sent is not None:
                    self.flow.measured(self._loop.time() - sent)
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
        self._pty_do(lambda pty: pty.resize(size))
        if self.role is Role.DRIVE:
            self.on_change()

    async def _tell_info(self) -> None:
        with contextlib.suppress(OffloadError):
            info = await self._door.info(self.job_id, self.kind)
            if info is not None:
                self.say(frames.control("info", alternate=info.alternate, dead=info.dead, title=info.title))

    async def _call_attention(self, text: str) -> None:
        with contextlib.suppress(OffloadError):
            await self._door.call_attention(self.job_id, text or "The terminal rang.")

    # -- the terminal ----------------------------------------------------------------------------------

    async def attach(self, role: Role | None = None) -> None:
        """Attach to the session, or attach anew: history first, then what tmux draws.

        Without a `role` the viewer gets the one it wished for, except that a second driver follows the first.
        """
        async with self._attach_lock:
            await self._let_go()
            try:
                info, history = await asyncio.gather(
                    self._door.info(self.job_id, self.kind), self._door.history(self.job_id, self.kind)
                )
                self.role = role or self._role_beside(info)
                await self._open(info, history)
            except OffloadError as error:
                self._attach_failed(error)
        self.on_change()

    def _role_beside(self, info: SessionInfo | None) -> Role:
        others = info is not None and any(not v.ignores_size and not v.read_only for v in info.viewers)
        return Role.FOLLOW if self.wish is Role.DRIVE and others else self.wish

    async def _open(self, info: SessionInfo | None, history: bytes) -> None:
        lead = leading_size(info) if self.role is not Role.DRIVE else None
        if lead is not None:
            self.size = lead
        attachment = _Attachment(self)
        self._number += 1
        ready = {
            "n": self._number,
            "session": info.session if info else "",
            "kind": self.kind,
            "role": self.role,
            "history": len(history),
            "size": [lead.columns, lead.rows] if lead else None,
            "ack": self.flow.sent,
        }
        self._out.append(frames.control("ready", **ready))
        if history:
            self.output(as_scrollback(history, self.size.rows))
        self._rouse()
        request = TerminalRequest(
            self.job_id,
            self.kind,
            read_only=self.role is Role.WATCH,
            ignore_size=self.role is not Role.DRIVE,
        )
        size = self.size
        self._attachment = attachment
        try:
            attachment.pty = await self._door.open(request, attachment, size)
        except BaseException:
            attachment.retire()
            self._attachment = None
            raise
        self._was_attached = True
        if self._closed:
            await self._let_go()
            return
        if self._attachment is not attachment:  # it ended while it was being opened
            await attachment.pty.aclose()
            return
        if self.size != size:
            attachment.pty.resize(self.size)
        if self._paused_at is not None:
            attachment.pty.pause_reading()
        self._start_writer()

    async def _let_go(self) -> None:
        """Close the terminal that is attached now and forget what it still had to say."""
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            attachment.retire()
            self._forget_output()
            if attachment.pty is not None:
                await attachment.pty.aclose()
        if self._writer is not None:
            self._writer.cancel()
            self._writer = None
        self._resume()

    def _forget_output(self) -> None:
        self.flow.add(-sum(len(item) for item in self._out if isinstance(item, bytes)))
        self._out = deque(item for item in self._out if isinstance(item, str))

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
        self._drop_input()
        if error is None:
            self._say_exit(exit_status, lost=False, message="The terminal ended.")
        else:
            hint = error.hint if isinstance(error, OffloadError) else ""
            self._say_exit(exit_status, lost=True, message=str(error), hint=hint)
        self.on_change()

    def _say_exit(self, status: int | None, *, lost: bool, message: str, hint: str = "") -> None:
        self._out.append(frames.control("exit", status=status, lost=lost, message=message, hint=hint))
        self._rouse()

    def lead(self, size: Size | None) -> None:
        """Show the session at the size of the viewer that drives it (None: at this viewer's own)."""
        self.say(frames.control("size", size=[size.columns, size.rows] if size else None))

    # -- time and end ----------------------------------------------------------------------------------

    def tick(self) -> None:
        """Ping when it is time; give up on a browser that has been silent for too long."""
        now = self._loop.time()
        if now - self.heard_at > DEAD_AFTER:
            self.close(
                Close.DEAD_PEER, "dead_peer", f"The browser was silent for {DEAD_AFTER:g} s.", retry=True
            )
        elif now - self._pinged_at >= PING_EVERY:
            self.ping()

    def ping(self) -> None:
        """Measure the round trip, and keep proxies from closing an idle socket."""
        self._ping_id += 1
        self._pinged_at = self._loop.time()
        if len(self._pinged) > 8:
            self._pinged.clear()
        self._pinged[self._ping_id] = self._pinged_at
        self.say(frames.control("ping", id=self._ping_id))

    def start(self, work: Awaitable[None]) -> asyncio.Task[None]:
        """Do something on the side, for as long as this terminal is open."""

        async def run() -> None:
            await work

        task = self._loop.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("A terminal of job %s failed", self.job_id, exc_info=error)
            self.close(
                Close.FAILED,
                "internal",
                "The server failed.",
                "Reconnect; the log has the details.",
                retry=True,
            )

    async def aclose(self) -> None:
        """Hang up and free everything. Idempotent; whatever was in work is cancelled first."""
        self._closed = True
        pending = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await self._let_go()
        self._out.clear()
        self._drop_input()


def leading_size(info: SessionInfo | None) -> Size | None:
    """Return the size of the client that decides the session's size, if there is one."""
    drivers = [v for v in info.viewers if not v.ignores_size and not v.read_only] if info else []
    return max(drivers, key=lambda viewer: viewer.active_at).size if drivers else None


def as_scrollback(history: bytes, rows: int) -> bytes:
    """Return captured lines so that a fresh terminal of `rows` rows ends up with all of them scrolled off.

    What follows is tmux's own drawing of the screen, which clears it first.
    """
    lines = history.removesuffix(b"\n").split(b"\n")
    return b"".join([b"\r\n".join(lines), b"\x1b[0m", b"\r\n" * rows])
