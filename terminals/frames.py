"""What travels over the terminal's WebSocket.

Binary frames are terminal bytes, both ways, unchanged. Text frames are JSON objects whose `t` names their
kind: control. This module turns text into checked values and back; it knows no socket and no terminal.

    browser -> server   resize ack ping pong take attach attached info attention
    server -> browser   ready size viewers info taken exit ending error title ping pong
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any
from urllib.parse import parse_qsl

from jobs.workers import Parts

MAX_CONTROL = 4096
"""Characters in one control frame."""
MAX_INPUT = 64 * 1024
"""Bytes in one binary frame from the browser; larger pastes are sent in pieces."""
MAX_COLUMNS = 1000
MAX_ROWS = 500
MAX_TAB = 64
MAX_ATTENTION = 500
_MAX_COUNT = 2**53 - 1  # what a JavaScript number holds exactly


class Close(IntEnum):
    """Why the server closes a terminal's socket, as a WebSocket close code."""

    MALFORMED = 4400
    NOT_LOGGED_IN = 4401
    NOT_ALLOWED = 4403
    NOT_FOUND = 4404
    DEAD_PEER = 4408
    REPLACED = 4409
    OVERSIZE = 4413
    BAD_SIZE = 4422
    TOO_MANY = 4429
    FAILED = 4500
    UNREACHABLE = 4503


class FrameError(Exception):
    """A frame that we do not accept; the socket is closed with `close`."""

    def __init__(self, close: Close, reason: str) -> None:
        super().__init__(reason)
        self.close = close
        self.reason = reason


@dataclass(frozen=True)
class Resize:
    """The browser's terminal has a new size, in cells."""

    columns: int
    rows: int


@dataclass(frozen=True)
class Ack:
    """The browser has drawn `count` bytes since the terminal was attached."""

    count: int


@dataclass(frozen=True)
class Ping:
    """The browser asks whether we are there."""

    id: int


@dataclass(frozen=True)
class Pong:
    """The browser answers our ping."""

    id: int


@dataclass(frozen=True)
class Take:
    """This viewer's size shall count from now on."""


@dataclass(frozen=True)
class Attach:
    """Attach (again): after the end of a terminal, or to load the history again."""


@dataclass(frozen=True)
class Attached:
    """The browser has read `ready` number `number`; what it sends from now on is for that terminal."""

    number: int


@dataclass(frozen=True)
class Info:
    """The browser asks what the session is doing now (a full-screen program or a shell)."""


@dataclass(frozen=True)
class AttentionCall:
    """The program rang or sent a notification."""

    text: str


# `isReply` in typing.js has the same pattern; tests/terminals/replies.json has the cases that both must pass.
# A cursor position report without a question mark (`CSI 1;5R`) is typing: Ctrl-F3 sends exactly that.
_REPLIES = re.compile(
    rb"(?:\x1b\[[?>=][\d;]*(?:c|n|R|u)|\x1b\[\??[\d;]*\$y|\x1b\[\d*n|\x1b\[[\d;]+t|\x1b\[[IO]"
    rb"|\x1b\[<[\d;]+[Mm]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1bP[^\x1b]*\x1b\\)+"
)


def is_reply(data: bytes) -> bool:
    """Tell whether the terminal itself produced this input: an answer to a query, a focus or mouse report.

    A report must reach the program that asked for it; any other program would take it for typing.
    """
    return data[:1] == b"\x1b" and _REPLIES.fullmatch(data) is not None


_IDENTITY = re.compile(rb"\x1b\[([?>])[\d;]*c|\x1bP(>)\|[^\x1b]*\x1b\\\\")


def identities(data: bytes) -> set[bytes]:
    """Return which questions of who the terminal is this input answers; tmux asks each once, at first."""
    return {(match[1] or b"P") + match[0][-1:] for match in _IDENTITY.finditer(data)}


Control = Resize | Ack | Ping | Pong | Take | Attach | Attached | Info | AttentionCall


def parse_control(text: str) -> Control:
    """Return the control message in a text frame. Raises `FrameError` for anything but an exact one."""
    if len(text) > MAX_CONTROL:
        raise FrameError(
            Close.OVERSIZE, f"A control frame has {len(text)} characters; the limit is {MAX_CONTROL}."
        )
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise FrameError(Close.MALFORMED, "A control frame is not JSON.") from None
    if not isinstance(message, dict):
        raise FrameError(Close.MALFORMED, "A control frame is not a JSON object.")
    kind = message.pop("t", None)
    match kind:
        case "resize":
            _only(kind, message, "cols", "rows")
            return check_size(_whole(kind, message, "cols"), _whole(kind, message, "rows"))
        case "ack":
            _only(kind, message, "n")
            return Ack(_whole(kind, message, "n"))
        case "ping" | "pong":
            _only(kind, message, "id")
            number = _whole(kind, message, "id")
            return Ping(number) if kind == "ping" else Pong(number)
        case "take" | "attach" | "info":
            _only(kind, message)
            return Take() if kind == "take" else Attach() if kind == "attach" else Info()
        case "attached":
            _only(kind, message, "n")
            return Attached(_whole(kind, message, "n"))
        case "attention":
            _only(kind, message, "text")
            note = message["text"]
            if not isinstance(note, str) or len(note) > MAX_ATTENTION:
                raise FrameError(Close.MALFORMED, f"`attention` needs at most {MAX_ATTENTION} characters.")
            return AttentionCall(note)
        case _:
            raise FrameError(Close.MALFORMED, f"There is no control frame of kind {str(kind)[:40]!r}.")


def _only(kind: str, message: dict[str, Any], *keys: str) -> None:
    if set(message) != set(keys):
        raise FrameError(Close.MALFORMED, f"`{kind}` has {sorted(message)[:8]}; it needs {sorted(keys)}.")


def _whole(kind: str, message: dict[str, Any], key: str) -> int:
    value = message[key]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_COUNT:
        raise FrameError(Close.MALFORMED, f"`{kind}` needs a whole number as {key!r}.")
    return value


def check_size(columns: int, rows: int) -> Resize:
    """Return a size that a terminal can have. Raises `FrameError`."""
    if not (1 <= columns <= MAX_COLUMNS and 1 <= rows <= MAX_ROWS):
        raise FrameError(
            Close.BAD_SIZE,
            f"A terminal cannot have {columns}x{rows} cells; the limit is {MAX_COLUMNS}x{MAX_ROWS}.",
        )
    return Resize(columns, rows)


@dataclass(frozen=True)
class Opening:
    """What the browser says in its address: its size, how it wants to look on, and which tab it is."""

    size: Resize
    mode: str = "drive"
    tab: str = ""


MODES = ("drive", "follow", "watch")


def parse_opening(query: bytes) -> Opening:
    """Read the query string of the handshake. Raises `FrameError`."""
    try:
        fields = dict(parse_qsl(query.decode("ascii"), strict_parsing=True)) if query else {}
    except ValueError:
        raise FrameError(Close.MALFORMED, "The terminal's address has a malformed query.") from None
    try:
        size = check_size(int(fields.get("cols", "80")), int(fields.get("rows", "24")))
    except ValueError:
        raise FrameError(Close.BAD_SIZE, "`cols` and `rows` must be whole numbers.") from None
    mode, tab = fields.get("mode", "drive"), fields.get("tab", "")
    if mode not in MODES:
        raise FrameError(Close.MALFORMED, f"There is no mode {mode[:40]!r}; there are {', '.join(MODES)}.")
    if len(tab) > MAX_TAB:
        raise FrameError(Close.MALFORMED, f"The name of a tab has at most {MAX_TAB} characters.")
    return Opening(size, mode, tab)


def control(kind: str, /, **fields: Any) -> str:
    """Return a control frame for the browser."""
    return json.dumps({"t": kind, **fields}, separators=(",", ":"), ensure_ascii=False)


def ending(parts: Parts) -> str:
    """Return the frame that says when and why the machine stops soon: words, and moments as Unix seconds."""
    return control("ending", parts=[one if isinstance(one, str) else one.timestamp() for one in parts])


def error(close: Close, code: str, message: str, hint: str = "", *, retry: bool = False) -> str:
    """Return the frame that says why the socket closes: Daphne sends close codes without a reason.

    `retry`: whether the browser should come back by itself.
    """
    fields: Mapping[str, Any] = {"close": int(close), "code": code, "message": message, "hint": hint}
    return control("error", **fields, retry=retry)
