"""What the gateway knows of each model API: its calls, its key, its counts, its limits. Pure.

Sources: https://ai.google.dev/api/generate-content, https://docs.anthropic.com/en/api/rate-limits and
/messages-streaming, https://platform.openai.com/docs/api-reference and /docs/guides/rate-limits.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Dict, List, Mapping, Optional, Pattern, Tuple

_LINE_BYTES = 4 * 1024 * 1024
_BODY_BYTES = 16 * 1024 * 1024
_MOST_TOKENS = 1_000_000_000
_RETRY_SECONDS = 90 * 24 * 3600.0
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
# Answers that say "later": too many requests, or no capacity (529 is Anthropic's).
LIMITED = (429, 503, 529)
_MODEL = r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}"


@dataclass(frozen=True)
class Api:
    """A model API. `calls`: method, pattern of the path, and whether the call uses tokens."""

    address: str
    header: str
    scheme: str
    calls: Tuple[Tuple[str, Pattern[str], bool], ...]


def _calls(*calls: Tuple[str, str, bool]) -> Tuple[Tuple[str, Pattern[str], bool], ...]:
    return tuple((method, re.compile(path), uses) for method, path, uses in calls)


# Only calls of models: the same key may open files, caches and settings of its owner.
APIS = {
    "gemini": Api(
        "https://generativelanguage.googleapis.com",
        "x-goog-api-key",
        "",
        _calls(
            (
                "POST",
                r"/v1(?:beta|alpha)?/models/%s:(?:generateContent|streamGenerateContent)" % _MODEL,
                True,
            ),
            ("POST", r"/v1(?:beta|alpha)?/models/%s:countTokens" % _MODEL, False),
            ("GET", r"/v1(?:beta|alpha)?/models(?:/%s)?" % _MODEL, False),
        ),
    ),
    "anthropic": Api(
        "https://api.anthropic.com",
        "x-api-key",
        "",
        _calls(
            ("POST", r"/v1/messages", True),
            ("POST", r"/v1/messages/count_tokens", False),
            ("GET", r"/v1/models(?:/%s)?" % _MODEL, False),
        ),
    ),
    "openai": Api(
        "https://api.openai.com",
        "Authorization",
        "Bearer ",
        _calls(
            ("POST", r"/v1/(?:responses|chat/completions)", True),
            ("GET", r"/v1/models(?:/%s)?" % _MODEL, False),
        ),
    ),
}


@dataclass(frozen=True)
class Usage:
    """Tokens of one call. `cached` are part of `input`."""

    input: int = 0
    output: int = 0
    cached: int = 0

    @property
    def total(self) -> int:
        """Return all tokens."""
        return self.input + self.output


class Meter:
    """Reads the counts in an answer while it passes. `streams`: it is a stream of server-sent events."""

    def __init__(self, name: str, streams: bool) -> None:
        self.usage = Usage()
        self.is_counted = False
        self.bytes = 0
        self._name = name
        self._streams = streams
        self._data = bytearray()
        self._skips = False  # a line that is too long

    def feed(self, data: bytes) -> None:
        """Take a piece of the answer."""
        self.bytes += len(data)
        if not self._streams:
            self._data += data[: _BODY_BYTES - len(self._data)]
            return
        self._data += data
        *lines, rest = self._data.split(b"\n")
        for line in lines:
            if not self._skips:
                self._read_line(bytes(line))
            self._skips = False
        if len(rest) > _LINE_BYTES:
            self._skips, rest = True, bytearray()
        self._data = bytearray(rest)

    def finish(self) -> None:
        """Take the end of the answer."""
        if self._streams:
            self._read_line(bytes(self._data))
        else:
            self._read(self.body)

    @property
    def body(self) -> bytes:
        """Return the beginning of an answer that is no stream."""
        return bytes(self._data)

    def _read_line(self, line: bytes) -> None:
        if line.startswith(b"data:") and b'"usage' in line:
            self._read(line[5:])

    def _read(self, text: bytes) -> None:
        value = parsed(text)
        for item in value if isinstance(value, list) else [value]:
            found = _usage(self._name, item) if isinstance(item, dict) else None
            if found is not None:
                # The counts of a stream grow.
                seen = self.usage
                self.usage = Usage(
                    max(seen.input, found.input),
                    max(seen.output, found.output),
                    max(seen.cached, found.cached),
                )
                self.is_counted = True


def parsed(text: bytes) -> Any:
    """Return the JSON value of a text; None when it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _usage(name: str, value: Mapping[str, Any]) -> Optional[Usage]:
    if name == "gemini":
        counts = _table(value, "usageMetadata")
        if counts is None:
            return None
        return Usage(
            _sum(counts, "promptTokenCount", "toolUsePromptTokenCount"),
            _sum(counts, "candidatesTokenCount", "thoughtsTokenCount"),
            _sum(counts, "cachedContentTokenCount"),
        )
    if name == "anthropic":
        counts = _table(value, "usage") or _table(_table(value, "message") or {}, "usage")
        if counts is None:
            return None
        parts = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        return Usage(
            _sum(counts, *parts), _sum(counts, "output_tokens"), _sum(counts, "cache_read_input_tokens")
        )
    counts = _table(value, "usage") or _table(_table(value, "response") or {}, "usage")
    if counts is None:
        return None
    details = _table(counts, "input_tokens_details") or _table(counts, "prompt_tokens_details") or {}
    return Usage(
        _sum(counts, "input_tokens", "prompt_tokens"),
        _sum(counts, "output_tokens", "completion_tokens"),
        _sum(details, "cached_tokens"),
    )


def _table(value: Mapping[str, Any], key: str) -> Optional[Dict[str, Any]]:
    found = value.get(key)
    return found if isinstance(found, dict) and found else None


def _sum(counts: Mapping[str, Any], *names: str) -> int:
    found = [counts.get(name) for name in names]
    return sum(n for n in found if isinstance(n, int) and not isinstance(n, bool) and 0 <= n < _MOST_TOKENS)


def wait_seconds(headers: Mapping[str, str], body: bytes, at: datetime) -> Optional[float]:
    """Return in how many seconds an API that said "later" can be asked again; None when it does not say.

    `headers`: with names in lower case; `at`: the time now, with a zone.
    """
    waits = [_retry_after(headers.get("retry-after", ""), at), _retry_delay(body), _resets_at(body, at)]
    for name, text in headers.items():
        if not name.startswith(("anthropic-ratelimit-", "x-ratelimit-")) or "reset" not in name:
            continue
        # Of several limits, those that are used up count.
        used_up = headers.get(name.replace("reset", "remaining"), "0").strip() == "0"
        if used_up and not headers.get(name.replace("reset", "status"), "").startswith("allowed"):
            waits.append(_reset(text.strip(), at))
    known = [wait for wait in waits if wait is not None and 0 <= wait <= _RETRY_SECONDS]
    return max(known) if known else None


def _reset(text: str, at: datetime) -> Optional[float]:
    if re.fullmatch(r"\d{9,11}", text):
        return _until(text, at)
    return _retry_after(text, at) if "-" in text else _duration(text)


def _until(seconds: Any, at: datetime) -> float:
    """Return how long it is to a time in seconds of the epoch."""
    return max(0.0, float(seconds) - at.timestamp())


def _retry_after(text: str, at: datetime) -> Optional[float]:
    text = text.strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    try:
        until = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        try:
            import email.utils  # rarely needed, and slow to import

            until = email.utils.parsedate_to_datetime(text)
        except (TypeError, ValueError):
            return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=timezone.utc)
    return max(0.0, (until - at).total_seconds())


def _duration(text: str) -> Optional[float]:
    match = _DURATION.fullmatch(text.strip())
    if match is None or not match.group():
        return None
    hours, minutes, seconds, millis = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds + millis / 1000


def _error(body: bytes) -> Dict[str, Any]:
    value = parsed(body)
    value = value[0] if isinstance(value, list) and value else value
    return (_table(value, "error") if isinstance(value, dict) else None) or {}


def _resets_at(body: bytes, at: datetime) -> Optional[float]:
    """Return OpenAI's end of a usage limit, in seconds of the epoch."""
    resets = _error(body).get("resets_at")
    return _until(resets, at) if type(resets) is int and 0 < resets < 1e11 else None


def _retry_delay(body: bytes) -> Optional[float]:
    """Return Google's `RetryInfo`."""
    details = _error(body).get("details")
    items: List[Any] = details if isinstance(details, list) else []
    delays = [item.get("retryDelay") for item in items if isinstance(item, dict)]
    found = [_duration(delay) for delay in delays if isinstance(delay, str)]
    return next((seconds for seconds in found if seconds is not None), None)
