"""Secrets out of text that is kept: known values, and the shapes of well-known tokens.

Works on a stream: what could be the beginning of a secret is held back until it is whole or is none.
A secret that a program prints with other bytes between its characters (colours, cursor moves) is not seen.
"""

from __future__ import annotations

import re
from typing import Iterable, List, Tuple

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
_TOKEN = re.compile("|".join("%s[%s]{%d,}" % (re.escape(p), chars, least) for p, chars, least in TOKENS))
# A text that ends like this may go on as a token.
_OPEN = re.compile("(?:%s)$" % "|".join("%s[%s]*" % (re.escape(p), chars) for p, chars, _ in TOKENS))
_LONGEST_HELD = 4096
_SHORTEST_VALUE = 6


class Redactor:
    """Replaces secrets in a stream of text. `values` are secrets known by themselves."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        # The longest first: a value may contain another.
        self.values: List[str] = sorted(
            {v for v in values if len(v) >= _SHORTEST_VALUE}, key=len, reverse=True
        )
        self._held = ""

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
        return _TOKEN.sub(MARK, text[:cut])

    def flush(self) -> str:
        """Return what is held back, without secrets: no more text will come."""
        text, self._held = self._held, ""
        return _TOKEN.sub(MARK, text)

    def _without_values(self, text: str) -> str:
        for value in self.values:
            text = text.replace(value, MARK)
        return text

    def _safe_end(self, text: str) -> int:
        """Return where the part begins that may be the start of a secret."""
        start = max(0, len(text) - _LONGEST_HELD)
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
