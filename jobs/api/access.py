"""Who may use the API: a token with the operation's scope, or a browser that is logged in."""

from __future__ import annotations

from dataclasses import dataclass

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpRequest
from ninja.security import HttpBearer
from ninja.security.base import AuthBase
from ninja.utils import check_csrf

from jobs.api.errors import NotAllowed, NotAuthenticated
from jobs.models import ApiToken
from jobs.operations import check_token
from jobs.states import Scope

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Caller:
    """Who sent a request. `name`: as events name the actor; `token`: None for a login."""

    name: str
    token: ApiToken | None = None


class Token(HttpBearer):
    """A token in the header `Authorization`. One that is not valid is refused, whatever else is sent."""

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.scope = scope

    async def authenticate(self, request: HttpRequest, token: str) -> Caller:
        """Return the caller. Raises `NotAuthenticated`, `NotAllowed`."""
        row = await check_token(token.strip())
        if row is None:
            raise NotAuthenticated(
                "The token is not known: it was revoked, has expired, or was never made here.",
                hint="`manage.py offload token add NAME` makes a new one.",
            )
        if self.scope not in row.scopes:
            raise NotAllowed(
                f"The token {row.name} lacks the scope {self.scope.value}.",
                hint=f"Make one that has it: `manage.py offload token add NAME --scope {self.scope.value}`.",
            )
        return Caller(f"{row.name} (API)", row)


class Login(AuthBase):
    """The cookie of a browser that is logged in. What changes something needs the CSRF token too."""

    openapi_type = "apiKey"
    openapi_in = "cookie"
    openapi_name = settings.SESSION_COOKIE_NAME

    async def __call__(self, request: HttpRequest) -> Caller | None:
        """Return the caller; None without a login. Raises `NotAllowed`."""
        return await sync_to_async(self._check)(request)

    def _check(self, request: HttpRequest) -> Caller | None:
        # `offload_web.security` has ended an old login by now, and asked for the permission to change.
        if not request.user.is_authenticated:
            return None
        if request.method not in _SAFE and check_csrf(request) is not None:
            raise NotAllowed(
                "The request has a browser's login and no CSRF token.",
                hint="Send the header X-CSRFToken, or use a token of the API.",
            )
        return Caller(f"{request.user.get_username()} (API)")


def caller_of(request: HttpRequest) -> Caller:
    """Return who sent a request that was let in."""
    caller: Caller = request.auth  # type: ignore[attr-defined]  # Ninja keeps it there
    return caller


def needs(scope: Scope) -> list[AuthBase]:
    """Return the ways to authenticate for an operation of a scope."""
    return [Token(scope), Login()]
