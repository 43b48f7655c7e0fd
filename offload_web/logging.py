"""Logs: one readable line each, on stderr, without tokens, session ids and passwords."""

from __future__ import annotations

import logging
import re
from typing import Any

_SECRETS = re.compile(
    r"(?P<key>token=|offload_(?=[A-Za-z0-9_-]{43})|authorization:\s*(?:bearer|basic)\s+|sessionid=|x-csrftoken:\s*)[^\s&;'\"]+",
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


class WithoutReapedChildren(logging.Filter):
    """Leaves out that asyncio did not get the exit status of a process whose transport was closed.

    Closing it polls the process (`BaseSubprocessTransport.close`), which takes the status from asyncio's own
    watcher when the process ends at that moment. The status is not needed: it is
    that of a tunnel, as a rule.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be written."""
        return not (record.name == "asyncio" and "will report returncode 255" in str(record.msg))


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
        "filters": {"reaped": {"()": "offload_web.logging.WithoutReapedChildren"}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["reaped"]}
        },
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "offload": {"level": "DEBUG" if debug else "INFO"},
            "django.request": {"level": "ERROR"},
        },
    }
