"""The terminals app."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_out


class TerminalsConfig(AppConfig):
    """Terminals in the browser."""

    name = "terminals"

    def ready(self) -> None:
        """Close a login's terminals when it ends."""
        user_logged_out.connect(_end_login, dispatch_uid="terminals.end_login")


def _end_login(sender: object, request: Any, **kwargs: object) -> None:
    from terminals.live import registry  # needs the models, which are not loaded when this module is

    registry.end_login(getattr(request.session, "session_key", "") or "")
