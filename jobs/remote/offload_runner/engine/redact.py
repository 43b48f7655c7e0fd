"""Secrets out of text that is kept: known values, and the shapes of well-known tokens.

Works on a stream: what could be the beginning of a secret is held back until it is whole or is none.
A secret that a program prints with other bytes between its characters (colours, cursor moves) is not seen.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Iterable, List, Set, Tuple
from urllib.parse import quote, quote_plus

MARK = "[redacted]"
# Beginning and further characters, as their issuers document them: GitHub, GitLab, Google, AWS, Slack, npm,
# PyPI, OpenAI and Anthropic.
TOKENS: Tuple[Tuple[str, str, int], ...] = (
    ("ghp_", "A-Za-z0-9", 30),
    ("gho_", "A-Za-z0-9", 30),
    ("ghu_", "A-Za-z0-9", 30),
    ("ghs_", "A-Za-z0-9", 30),
    ("ghr_", "A-Za-z0-9", 30),
    ("github_pat_", "A-Za-z0-9_", 40),
    ("glpat-", "A-Za-z0-9_-", 20),
    ("AIza", "A-Za-z0-9_-", 35),
    ("ya29.", "A-Za-z0-9_-", 30),
    ("AKIA", "A-Z0-9", 16),
    ("ASIA", "A-Z0-9", 16),
    ("xoxb-", "A-Za-z0-9-", 20),
    ("xoxp-", "A-Za-z0-9-", 20),
    ("npm_", "A-Za-z0-9", 36),
    ("pypi-", "A-Za-z0-9_-", 50),
    ("sk-", "A-Za-z0-9_-", 32),
)
_TOKENS = tuple((p, re.compile("%s[%s]{%d,}" % (re.escape(p), chars, least))) for p, chars, least in TOKENS)
# A text that ends like this may go on as a token.
_OPEN = re.compile("(?:%s)$" % "|".join("%s[%s]*" % (re.escape(p), chars) for p, chars, _ in TOKENS))
_LONGEST_HELD = 4096
SHORTEST_VALUE = 6
# A line of a secret of several lines is recognised by itself when it is at least so long.
_SHORTEST_LINE = 12


def forms(values: Iterable[str]) -> List[str]:
    """Return the texts by which secrets are recognised.

    Besides the value and its longer lines: in base64 (wherever it stands in what was encoded), in hex,
    percent-encoded, and as JSON writes it.
    """
    found: Set[str] = set()
    for value in values:
        lines = value.splitlines()
        longer = [line.strip() for line in lines if len(line.strip()) >= _SHORTEST_LINE]
        for text in [value, value.strip(), *(longer if len(lines) > 1 else [])]:
            found |= {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
            for encoded in (quote(text, safe=""), quote(text), quote_plus(text)):
                found |= {encoded, re.sub("%..", lambda match: match[0].lower(), encoded)}
            raw = text.encode("utf-8", "surrogateescape")
            found |= {raw.hex(), raw.hex().upper()}
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                for before in range(3):
                    # Only the characters that depend on nothing but the secret.
                    whole = encode(b"\0" * before + raw).decode("ascii")
                    found.add(whole[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6])
    return sorted(form for form in found if len(form) >= SHORTEST_VALUE)


class BytesRedactor:
    """Replaces secrets in a stream of bytes of any encoding; what is none comes out as it went in."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        known = [form.encode("utf-8", "surrogateescape").decode("latin-1") for form in forms(values)]
        self._redactor = Redactor(known)

    def feed(self, data: bytes) -> bytes:
        """Take bytes; return what is certain, without secrets."""
        return self._redactor.feed(data.decode("latin-1")).encode("latin-1")

    def flush(self) -> bytes:
        """Return what is held back, without secrets: no more will come."""
        return self._redactor.flush().encode("latin-1")


def _without_tokens(text: str) -> str:
    for prefix, token in _TOKENS:
        # Looking for the prefix first is ten times as fast as one expression for all.
        if prefix in text:
            text = token.sub(MARK, text)
    return text


class Redactor:
    """Replaces secrets in a stream of text. `values` are secrets known by themselves."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        # The longest first: a value may contain another.
        self.values: List[str] = sorted(
            {v for v in values if len(v) >= SHORTEST_VALUE}, key=len, reverse=True
        )
        self._held = ""
        self._longest = max([_LONGEST_HELD, *(len(value) for value in self.values)])

    @property
    def holds(self) -> bool:
        """Tell whether some text is held back."""
        return bool(self._held)

    def feed(self, text: str) -> str:
        """Take text; return what is certain, without secrets."""
        # Whole values go first: the end of one may look like the beginning of another.
        text = self._without_values(self._held + text)
        cut = self._safe_end(text)
        self._held = text[cut:]
        return _without_tokens(text[:cut])

    def flush(self) -> str:
        """Return what is held back, without secrets: no more text will come."""
        text, self._held = self._held, ""
        return _without_tokens(text)

    def _without_values(self, text: str) -> str:
        for value in self.values:
            text = text.replace(value, MARK)
        return text

    def _safe_end(self, text: str) -> int:
        """Return where the part begins that may be the start of a secret."""
        start = max(0, len(text) - self._longest)
        tail = text[start:]
        end = len(text)
        match = _OPEN.search(tail)
        if match:
            end = start + match.start()
        # `replace` works from left to right, so a value must not be cut in two.
        for value in [*self.values, *(prefix for prefix, _, _ in TOKENS)]:
            for length in range(min(len(value) - 1, len(tail)), 0, -1):
                if tail.endswith(value[:length]):
                    end = min(end, len(text) - length)
                    break
        return end
