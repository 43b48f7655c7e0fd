"""THE JSON of an error, for answers of the HTTP API."""

from __future__ import annotations

from typing_extensions import TypedDict

from jobs.errors import OffloadError
from jobs.invocation import render_commands


class ErrorJson(TypedDict):
    """What failed, on what and why; `hint`: what to do next; `retryable`: the same call can succeed later."""

    code: str
    message: str
    hint: str | None
    retryable: bool


def error_json(error: OffloadError) -> ErrorJson:
    """Return an error as data."""
    return {
        "code": error.code,
        "message": render_commands(error.message),
        "hint": render_commands(error.hint) or None,
        "retryable": error.retryable,
    }
