"""Requests to the HTTP API of a remote dashboard, and its errors as those of this program."""

from __future__ import annotations

import asyncio
import json
import math
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import SplitResult, quote, urlsplit

import httpx

from jobs.errors import (
    CommandFailed,
    ConnectFailed,
    ConnectionLost,
    NotConfigured,
    OffloadError,
    ProtocolMismatch,
    Refused,
    TooLarge,
    UsageError,
)

API = "/api/v1"
SECONDS = 30.0
CONNECT_SECONDS = 10.0
BODY_SECONDS = 300.0  # until the end of an answer has come
MOST_BYTES = 16 << 20
MOST_TEXT = 2000  # characters of an error's message
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_WHERE = (
    "OFFLOAD_URL is the dashboard's address with its path: what `offload serve --link` prints on its "
    "computer, up to `/login/`."
)


def check_url(url: str) -> SplitResult:
    """Return the parts of a dashboard's address. Raises `NotConfigured` for one that is not safe to use."""
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise NotConfigured(f"OFFLOAD_URL is not a web address: {url!r}.", hint=_WHERE)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise NotConfigured(
            "OFFLOAD_URL holds more than an address.", hint=f"{_WHERE} A token does not belong in it."
        )
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise NotConfigured(
            f"OFFLOAD_URL would send the token to {parts.netloc} without encryption.",
            hint="Use https, or an ssh tunnel to the dashboard and its address on localhost.",
        )
    return parts


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text[:20])


@dataclass(frozen=True)
class Answer:
    """An answer of a dashboard, read to its end."""

    status_code: int
    headers: httpx.Headers
    content: bytes

    @property
    def is_success(self) -> bool:
        """Tell whether the dashboard did what was requested."""
        return 200 <= self.status_code < 300

    def json(self) -> Any:
        """Return its data. Raises `ValueError`, for numbers that are none and for too deep data as well."""
        try:
            return json.loads(self.content, parse_constant=_refuse, parse_float=_finite)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error


class Connection:
    """A connection to one dashboard. `page`: its address without a slash at the end."""

    def __init__(self, url: str, token: str) -> None:
        parts = check_url(url)
        self.server = parts.netloc
        self.page = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix(API)}"
        self._client = httpx.AsyncClient(
            base_url=f"{self.page}{API}",
            # Not compressed: a small answer would become a large one before its size is known.
            headers={"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"},
            # The system's certificates: it may know an authority that the package certifi does not.
            verify=ssl.create_default_context(),
            timeout=httpx.Timeout(SECONDS, connect=CONNECT_SECONDS),
            trust_env=parts.hostname not in _LOOPBACK,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def call(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None,
        seconds: float = SECONDS, **names: object,
    ) -> Answer:  # fmt: skip
        """Return the answer to a request. `path` is that of the OpenAPI document; `names` are put into it.

        Raises the error that the dashboard answered, `NotConfigured` for a token that it refuses,
        `ProtocolMismatch` when it is too old, `TooLarge`, `ConnectFailed` or `ConnectionLost`.
        """
        address = path.format(**{name: quote(str(value), safe="") for name, value in names.items()})
        try:
            answer = await self._send(method, address, seconds, params=params, json=body)
        except (httpx.HTTPError, TimeoutError) as error:
            raise self._translate(method, error) from error
        if answer.is_success:
            return answer
        raise await self._error_of(answer, method, path)

    async def _send(self, method: str, address: str, seconds: float, **options: Any) -> Answer:
        """Return an answer once its end has come. What never ends, or is too large, is given up."""
        limit = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
        content = bytearray()
        async with (
            asyncio.timeout(seconds + BODY_SECONDS),
            self._client.stream(method, address, timeout=limit, **options) as answer,
        ):
            async for part in answer.aiter_raw():
                content += part
                if len(content) > MOST_BYTES:
                    raise TooLarge(
                        f"The dashboard at {self.server} answers with more than {MOST_BYTES >> 20} MiB.",
                        hint="Check OFFLOAD_URL: Offload's dashboard does not do that.",
                    )
        whole = Answer(answer.status_code, answer.headers, bytes(content))
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise self._not_offload(whole)
        return whole

    async def get_json(self, path: str, **options: Any) -> dict[str, Any]:
        """Return the JSON object that a GET answers."""
        return self.read(await self.call("GET", path, **options))

    def read(self, answer: Answer) -> dict[str, Any]:
        """Return the JSON object of an answer. Raises `NotConfigured` when it is none of Offload's."""
        try:
            data = answer.json()
        except ValueError:
            data = None
        if not isinstance(data, dict) or data.get("schema") != "offload/1":
            raise self._not_offload(answer)
        return data

    def _translate(self, method: str, error: httpx.HTTPError | TimeoutError) -> OffloadError:
        why = str(error) or type(error).__name__
        if isinstance(
            error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
        ):
            if "CERTIFICATE_VERIFY_FAILED" in why:
                hint = (
                    "Check the address. For a certificate of your own, set SSL_CERT_FILE to its authority's."
                )
            else:
                hint = "Check OFFLOAD_URL, and whether `offload serve` runs there."
            return ConnectFailed(f"The dashboard at {self.server} cannot be reached: {why}.", hint=hint)
        unknown = "" if method == "GET" else " Whether the request was carried out is not known."
        return ConnectionLost(
            f"The dashboard at {self.server} did not answer: {why}.{unknown}", hint="Try again."
        )

    async def _error_of(self, answer: Answer, method: str, path: str) -> OffloadError:
        try:
            told = answer.json()["error"]
            words = (told["code"], told["message"], told["hint"] or "")
            code, message, hint = (_one_text(word) for word in words)
        except (ValueError, KeyError, TypeError):
            if answer.status_code >= 500:
                return ConnectFailed(
                    f"The dashboard at {self.server} does not work now: status {answer.status_code}.",
                    hint="Look at its output, or that of the proxy before it.",
                )
            return self._not_offload(answer)
        if code == "not_authenticated":
            return NotConfigured(
                f"The dashboard at {self.server} refuses the token: it is wrong, was revoked or has expired.",
                hint="On its computer, `offload token add NAME` makes a new one; set OFFLOAD_TOKEN to it.",
            )
        if answer.status_code in (404, 405) and not await self._knows(method, path):
            return ProtocolMismatch(
                f"The dashboard at {self.server} is too old for this: its API has no {method} {path}.",
                hint="Update Offload on its computer, or run the command there.",
            )
        return _error(code, message, hint)

    def _not_offload(self, answer: Answer) -> NotConfigured:
        return NotConfigured(
            f"{self.server} answers as no Offload dashboard does (status {answer.status_code}).",
            hint=_WHERE,
        )

    async def _knows(self, method: str, path: str) -> bool:
        """Return whether the dashboard's OpenAPI document has an operation; true when that cannot be told."""
        try:
            paths = (await self._send("GET", "/openapi.json", SECONDS)).json()["paths"]
            return any(
                known.endswith(f"{API}{path}") and method.lower() in operations
                for known, operations in paths.items()
            )
        except (httpx.HTTPError, TimeoutError, OffloadError, ValueError, KeyError, AttributeError, TypeError):
            return True


def _one_text(value: object) -> str:
    """Return a text of an error, as long as it may be. Raises `TypeError` for what is no text."""
    if not isinstance(value, str):
        raise TypeError("it is no text")
    return value if len(value) <= MOST_TEXT else f"{value[:MOST_TEXT]}…"


def _error(code: str, message: str, hint: str) -> OffloadError:
    """Return the error of this program for one of the API: the same code, and so the same exit code."""
    kind = _KINDS.get(code)
    if kind is not None:
        return kind(message, hint=hint)
    if code in ("invalid", "method"):
        return UsageError(message, hint=hint)
    return Refused(message, hint=hint) if code == "not_allowed" else OffloadError(message, hint=hint)


def _all_kinds(kind: type[OffloadError]) -> Iterator[type[OffloadError]]:
    for below in kind.__subclasses__():
        yield below
        yield from _all_kinds(below)


_KINDS = {
    kind.code: kind
    for kind in _all_kinds(OffloadError)
    if kind.__module__ == OffloadError.__module__ and kind is not CommandFailed
}
