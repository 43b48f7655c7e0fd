"""Text from a job, made safe to print on a terminal: no control sequence passes but colours. Pure."""

from __future__ import annotations

import codecs
import re
from typing import Any, TextIO, cast

_LONGEST = 4096  # characters of a sequence that may wait for their end in the next piece
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: cursor, modes, colours
    r"|\x1b[\]PX^_][^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"  # OSC (title, clipboard, links), DCS, APC
    r"|\x1b[ -/]*[0-Z\\^-~]"  # reset, character sets
    r"|\r+\n?|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
    r"|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"  # turn the direction of the text around them
)
_UNFINISHED = re.compile(r"(?:\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\x9c\n]*\x1b?|[ -/]*)|\r+)\Z")


class TerminalText:
    """Makes a stream of bytes safe, piece by piece. A return without a newline becomes a newline."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self._coloured = False

    def feed(self, data: bytes) -> str:
        """Return the safe text of a piece; a sequence that is not complete waits for the next piece."""
        text = self._held + self._decoder.decode(data)
        found = _UNFINISHED.search(text[-_LONGEST:])
        cut = len(text) - len(found[0]) if found else len(text)
        self._held = text[cut:]
        return _CONTROL.sub(self._safe, text[:cut])

    def end(self) -> str:
        """Return what still waits, and the end of a colour that was left on."""
        rest = _CONTROL.sub(self._safe, self._held + self._decoder.decode(b"", final=True))
        self._held = ""
        reset, self._coloured = ("\x1b[0m" if self._coloured else ""), False
        return rest + reset

    def _safe(self, found: re.Match[str]) -> str:
        sequence = found[0]
        if _is_colour(sequence):
            self._coloured = sequence not in ("\x1b[m", "\x1b[0m")
            return sequence
        return _visible(sequence)


def _is_colour(sequence: str) -> bool:
    """Tell whether a sequence sets a colour; one that hides the text after it does not."""
    if not _COLOUR.fullmatch(sequence):
        return False
    numbers = iter(sequence[2:-1].split(";"))
    for number in numbers:
        if number in ("38", "48", "58"):  # the numbers of a colour follow
            for _ in range({"5": 1, "2": 3}.get(next(numbers, ""), 0)):
                next(numbers, "")
        elif number.split(":")[0].lstrip("0") == "8":
            return False
    return True


def _visible(sequence: str) -> str:
    """Return what is printed for a sequence that must not reach the terminal."""
    if sequence[0] == "\r":
        return "\n"
    return f"<U+{ord(sequence):04X}>" if sequence > "\x9f" else ""


class GuardedTerminal:
    """A text stream to a terminal that lets no control sequence pass but colours."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text. A sequence that is not complete is none: its start does not wait for the next text."""
        self._stream.write(_CONTROL.sub(_guarded, text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each of the texts."""
        for line in lines:
            self.write(line)

    def draw(self, text: str) -> None:
        """Write control sequences of this program's own."""
        self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _guarded(found: re.Match[str]) -> str:
    return found[0] if _is_colour(found[0]) else _visible(found[0])


def guard_terminal(stream: TextIO) -> TextIO:
    """Return a stream that prints to the same place; to a terminal, nothing that controls it."""
    is_new = stream is not None and stream.isatty() and not isinstance(stream, GuardedTerminal)
    return cast(TextIO, GuardedTerminal(stream)) if is_new else stream


def make_safe(data: bytes) -> str:
    """Return a whole text without control sequences but colours."""
    text = TerminalText()
    return text.feed(data) + text.end()
