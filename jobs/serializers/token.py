"""THE JSON of an API token, for every interface. The token itself is not part of it."""

from __future__ import annotations

from typing_extensions import TypedDict

from jobs.models import ApiToken
from jobs.serializers.times import utc


class TokenJson(TypedDict):
    """An API token. `used_at`: when it was last used, to the minute."""

    name: str
    scopes: list[str]
    created_at: str
    created_by: str | None
    expires_at: str
    used_at: str | None


def token_json(token: ApiToken) -> TokenJson:
    """Return a token's row as data."""
    return {
        "name": token.name,
        "scopes": token.scopes,
        "created_at": utc(token.created_at),
        "created_by": token.created_by or None,
        "expires_at": utc(token.expires_at),
        "used_at": utc(token.used_at),
    }
