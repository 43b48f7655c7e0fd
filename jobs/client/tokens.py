"""The token for a remote dashboard: a variable of the environment, or in the keyring. Never an argument."""

from __future__ import annotations

from jobs.errors import NotConfigured
from jobs.execution.secret_store import DASHBOARD_TOKEN


def read_token() -> str:
    """Return the token. Raises `NotConfigured` when there is none."""
    from jobs import execution

    token = (execution.secret_store().get(DASHBOARD_TOKEN) or "").strip()
    if not token.isascii() or not token.isprintable():
        raise NotConfigured(f"{DASHBOARD_TOKEN} holds what cannot be a token.", hint="Copy it again.")
    if not token:
        raise NotConfigured(
            "There is no token for the dashboard that OFFLOAD_URL names.",
            hint="On its computer, `offload token add NAME --scope read --scope launch` makes one. "
            f"Keep it here with `offload secret set {DASHBOARD_TOKEN}`, or set the variable of that name.",
        )
    return token
