"""Terminal output as safe HTML: colours become classes, every other control sequence is dropped. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

_SEQUENCE = re.compile(
    r"\x1b\[(?P<params>[0-9;:]*)(?P<final>[ -/]*[@-~])"  # CSI
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: titles, links
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"  # DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-~]"
    r"|\x1b"
)
_ADDRESS = re.compile(r"https?://[^\s<>\"'`]{1,500}[^\s<>\"'`.,;:!?)\]}]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]")
_NAMES = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_FLAGS = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "reverse", 9: "strike"}
_OFF = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",), 27: ("reverse",), 29: ("strike",)}


class _Style:
    def __init__(self) -> None:
        self.flags: set[str] = set()
        self.colours: dict[str, str] = {}

    def classes(self) -> str:
        flags, colours = self.flags, list(self.colours.values())
        if "reverse" in flags and "fg" in self.colours:
            # On the colour of the text, with text that can be read on it.
            flags, colours = flags - {"reverse"}, [self.colours["fg"].replace("a-fg-", "a-bg-")]
        return " ".join([*sorted(f"a-{flag}" for flag in flags), *sorted(colours)])

    def apply(self, params: str) -> None:
        codes = (
            [int(part) if part.isdigit() else 0 for part in re.split("[;:]", params[:200])] if params else [0]
        )
        position = 0
        while position < len(codes):
            code = codes[position]
            position += 1
            if code == 0:
                self.flags.clear()
                self.colours.clear()
            elif code in _FLAGS:
                self.flags.add(_FLAGS[code])
            elif code in _OFF:
                self.flags.difference_update(_OFF[code])
            elif code in (38, 48):
                position += self._extended("fg" if code == 38 else "bg", codes[position:])
            elif code in (39, 49):
                self.colours.pop("fg" if code == 39 else "bg", None)
            else:
                self._basic(code)

    def _basic(self, code: int) -> None:
        for low, kind, bright in (
            (30, "fg", ""),
            (40, "bg", ""),
            (90, "fg", "-bright"),
            (100, "bg", "-bright"),
        ):
            if low <= code < low + 8:
                self.colours[kind] = f"a-{kind}-{_NAMES[code - low]}{bright}"

    def _extended(self, kind: str, rest: list[int]) -> int:
        # A strict Content-Security-Policy has no inline colours: the palette's 256 are mapped to its 16.
        if rest[:1] == [5] and len(rest) > 1:
            number = rest[1]
            if number < 16:
                self._basic(
                    ({"fg": 30, "bg": 40}[kind] if number < 8 else {"fg": 82, "bg": 92}[kind]) + number
                )
            elif number < 232:
                cube = number - 16
                self._nearest(kind, cube // 36 * 51, cube // 6 % 6 * 51, cube % 6 * 51)
            else:
                self._nearest(kind, *([(number - 232) * 10 + 8] * 3))
            return 2
        if rest[:1] == [2] and len(rest) > 3:
            self._nearest(kind, *rest[1:4])
            return 4
        return len(rest)

    def _nearest(self, kind: str, red: int, green: int, blue: int) -> None:
        highest = max(red, green, blue)
        if highest < 50:
            name = "black"
        else:
            bits = sum(bit for bit, part in ((1, red), (2, green), (4, blue)) if part > highest * 0.6)
            name = _NAMES[bits]
        bright = "-bright" if highest > 200 or (name == "black" and highest > 25) else ""
        self.colours[kind] = f"a-{kind}-{name}{bright}"


def render_lines(text: str) -> list[str]:
    """Return each line as escaped HTML; a line overwritten by carriage returns shows its last text."""
    style = _Style()
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if "\r" in line:
            # The colours of the overwritten text still apply.
            done, _, kept = line.rstrip("\r").rpartition("\r")
            for match in _SEQUENCE.finditer(done):
                if match["final"] == "m":
                    style.apply(match["params"])
            line = kept
        lines.append(_line(line, style))
    return lines


def line_runs(text: str) -> list[list[tuple[str, str]]]:
    """Return each line as runs of a text and its classes (names that this module chose, joined by spaces)."""
    style = _Style()
    return [list(_runs(line, style)) for line in text.split("\n")]


def _runs(line: str, style: _Style) -> Iterator[tuple[str, str]]:
    position = 0
    for match in _SEQUENCE.finditer(line):
        if text := _CONTROL.sub("", line[position : match.start()]):
            yield text, style.classes()
        if match["final"] == "m":
            style.apply(match["params"])
        position = match.end()
    if text := _CONTROL.sub("", line[position:]):
        yield text, style.classes()


def _line(line: str, style: _Style) -> str:
    return "".join(
        f'<span class="{classes}">{_with_links(text)}</span>' if classes else _with_links(text)
        for text, classes in _runs(line, style)
    )


def _with_links(text: str) -> str:
    parts = []
    position = 0
    for match in _ADDRESS.finditer(text):
        address = escape(match[0])
        parts.append(escape(text[position : match.start()]))
        parts.append(f'<a href="{address}" rel="nofollow noopener noreferrer" target="_blank">{address}</a>')
        position = match.end()
    return "".join([*parts, escape(text[position:])])
