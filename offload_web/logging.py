"""Logs: one readable line each, on stderr, with nothing that would let somebody in."""

from __future__ import annotations

import logging
import re
from typing import Any

_SECRETS = re.compile(
    r"(?P<key>token=|authorization:\s*(?:bearer|basic)\s+|sessionid=|x-csrftoken:\s*)[^\s&;'\"]+",
    re.IGNORECASE,
)
_IN_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s@]+@", re.IGNORECASE)


def redact(text: str) -> str:
    """Return the text without tokens, session ids and credentials inside URLs."""
    return _IN_URL.sub(r"\g<scheme>…@", _SECRETS.sub(r"\g<key>…", text))


class RedactingFormatter(logging.Formatter):
    """Formats a record, then takes the secrets out of it, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the finished line."""
        return redact(super().format(record))


def logging_settings(*, debug: bool) -> dict[str, Any]:
    """Return Django's LOGGING."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": "offload_web.logging.RedactingFormatter",
                "format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s",
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "offload": {"level": "DEBUG" if debug else "INFO"},
            "django.request": {"level": "ERROR"},
        },
    }
