"""Errors as answers: the object of `--json`, with the status of HTTP that fits."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from jobs.errors import (
    ForgeUnreachable,
    JobFailed,
    NotConfigured,
    NotFound,
    OffloadError,
    ProtocolMismatch,
    Refused,
    RemoteUnreachable,
    TimedOut,
    TransportError,
    UsageError,
    WorkerUnavailable,
)
from jobs.serializers import SCHEMA, error_json

log = logging.getLogger("offload.api")

UNEXPECTED = 500


class NotAuthenticated(OffloadError):
    """The request has no token and no login, or one that is not valid."""

    code = "not_authenticated"


class NotAllowed(OffloadError):
    """The token lacks the scope, or the browser's request lacks the CSRF token."""

    code = "not_allowed"


class InvalidRequest(UsageError):
    """A parameter or the body does not have the documented form."""

    code = "invalid"


class WrongMethod(UsageError):
    """The address exists and does not take this method."""

    code = "method"


class TooManyStreams(OffloadError):
    """As many streams of events are open as the server gives."""

    code = "too_many_streams"
    retryable = True


# The first class that matches counts.
STATUS: tuple[tuple[type[OffloadError], int], ...] = (
    (NotAuthenticated, 401),
    (NotAllowed, 403),
    (TooManyStreams, 429),
    (RemoteUnreachable, 502),
    (NotFound, 404),
    (WrongMethod, 405),
    (InvalidRequest, 422),
    (UsageError, 400),
    (Refused, 409),
    (NotConfigured, 409),
    (JobFailed, 409),
    (TimedOut, 504),
    (WorkerUnavailable, 503),
    (TransportError, 502),
    (ForgeUnreachable, 502),
    (ProtocolMismatch, 502),
)


def status_of(error: OffloadError) -> int:
    """Return the status of HTTP for an error."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), UNEXPECTED)


def answer(error: OffloadError, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """Return an error as an answer: what failed, on what and why in `message`; what to do next in `hint`."""
    return HttpResponse(
        json.dumps({"schema": SCHEMA, "error": error_json(error)}),
        status=status_of(error),
        content_type="application/json",
        headers=headers,
    )


def _describe(problems: list[dict[str, Any]]) -> str:
    told = []
    for problem in problems:
        source, *names = problem["loc"]
        told.append(f"{'.'.join(str(name) for name in names) or source} ({source}): {problem['msg']}")
    return "; ".join(told)


def install(api: NinjaAPI) -> None:
    """Let every error of an operation be answered here."""

    @api.exception_handler(OffloadError)
    def on_error(_request: HttpRequest, error: OffloadError) -> HttpResponse:
        return answer(error)

    @api.exception_handler(AuthenticationError)
    @api.exception_handler(NotAuthenticated)
    def on_stranger(request: HttpRequest, error: Exception) -> HttpResponse:
        told = error if isinstance(error, NotAuthenticated) else NotAuthenticated(
            f"{request.path_info} needs a token.",
            hint="Send `Authorization: Bearer TOKEN`; `manage.py offload token add NAME` makes one.",
        )  # fmt: skip
        return answer(told, {"WWW-Authenticate": 'Bearer realm="offload"'})

    @api.exception_handler(ValidationError)
    def on_invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
        return answer(
            InvalidRequest(
                f"{request.method} {request.path_info} was called with values that it does not take: "
                f"{_describe(error.errors)}.",
                hint="See openapi.json for what it takes.",
            )
        )

    @api.exception_handler(HttpError)
    def on_http(request: HttpRequest, error: HttpError) -> HttpResponse:
        # Ninja raises it for a body that is no JSON.
        return answer(
            InvalidRequest(f"{request.method} {request.path_info}: {error}.", hint="Send a JSON object.")
        )

    @api.exception_handler(Http404)
    def on_missing(request: HttpRequest, _error: Http404) -> HttpResponse:
        return answer(missing(request))

    @api.exception_handler(Exception)
    def on_unexpected(request: HttpRequest, error: Exception) -> HttpResponse:
        log.error("%s %s failed.", request.method, request.path_info, exc_info=error)
        return answer(
            OffloadError(
                f"Unexpected error: {type(error).__name__}.",
                hint="The dashboard's output has the traceback. Please report it.",
            )
        )


def missing(request: HttpRequest) -> NotFound:
    """Return the error for an address that does not exist."""
    return NotFound(f"There is nothing at {request.path_info}.", hint="See openapi.json for what there is.")
