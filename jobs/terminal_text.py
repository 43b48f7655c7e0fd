"""Text from a job, made safe to print on a terminal: no control sequence passes but colours. Pure."""

from __future__ import annotations

import codecs
import re

_LONGEST = 4096  # characters of a sequence that may wait for their end in the next piece
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: cursor, modes, colours
    r"|\x1b[\]PX^_][^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"  # OSC (title, clipboard, links), DCS, APC
    r"|\x1b[ -/]*[0-Z\\^-~]"  # reset, character sets
    r"|\r+\n?|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
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
        if _COLOUR.fullmatch(sequence):
            self._coloured = sequence not in ("\x1b[m", "\x1b[0m")
            return sequence
        return "\n" if sequence[0] == "\r" else ""


def make_safe(data: bytes) -> str:
    """Return a whole text without control sequences but colours."""
    text = TerminalText()
    return text.feed(data) + text.end()
