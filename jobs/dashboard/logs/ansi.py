"""Terminal output as safe HTML: colours become classes, every other control sequence is dropped. Pure."""

from __future__ import annotations

import re
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
        return " ".join([*sorted(f"a-{flag}" for flag in self.flags), *sorted(self.colours.values())])

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


def _line(line: str, style: _Style) -> str:
    parts = []
    position = 0
    for match in _SEQUENCE.finditer(line):
        parts.append(_span(line[position : match.start()], style))
        if match["final"] == "m":
            style.apply(match["params"])
        position = match.end()
    parts.append(_span(line[position:], style))
    return "".join(parts)


def _span(text: str, style: _Style) -> str:
    text = _CONTROL.sub("", text)
    if not text:
        return ""
    classes = style.classes()
    html = _with_links(text)
    return f'<span class="{classes}">{html}</span>' if classes else html


def _with_links(text: str) -> str:
    parts = []
    position = 0
    for match in _ADDRESS.finditer(text):
        address = escape(match[0])
        parts.append(escape(text[position : match.start()]))
        parts.append(f'<a href="{address}" rel="nofollow noopener noreferrer" target="_blank">{address}</a>')
        position = match.end()
    return "".join([*parts, escape(text[position:])])
