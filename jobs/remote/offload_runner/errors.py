"""What the runner refuses or fails to do, as it goes over the wire."""

from __future__ import annotations

from typing import Any, Dict

from jobs.remote.offload_runner.protocol import EXIT_UNAVAILABLE


class RunnerError(Exception):
    """A command of the runner failed.

    `code` is the stable label that the other side translates, `message` a full sentence about what
    happened, `hint` one about what to do next, `exit_code` one of the `EXIT_*` of the protocol.
    `details` are further fields of the error line (plain data).
    """

    def __init__(
        self, code: str, message: str, hint: str = "", exit_code: int = EXIT_UNAVAILABLE, **details: Any
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        self.details = details

    def to_json(self) -> Dict[str, Any]:
        """Return the error line."""
        return {
            "type": "error",
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            **self.details,
        }
