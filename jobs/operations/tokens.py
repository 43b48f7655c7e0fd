"""Tokens of the HTTP API: made and revoked by a command, checked at each request."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from datetime import timedelta

from asgiref.sync import sync_to_async
from django.db import IntegrityError
from django.db.models import Q
from django.utils import timezone

from jobs.errors import NotFound, Refused, UsageError
from jobs.models import ApiToken
from jobs.states import Scope

PREFIX = "offload_"  # by which scanners of code recognise a token that was committed
DEFAULT_LIFE = timedelta(days=90)
LONGEST_LIFE = timedelta(days=366)
_USED_EVERY = timedelta(minutes=1)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


async def add_token(
    name: str, scopes: Sequence[str], actor: str, life: timedelta = DEFAULT_LIFE
) -> tuple[ApiToken, str]:
    """Make a token; return its row and the token itself, which cannot be read again.

    Raises `UsageError` for a name, scope or life that is not usable, `Refused` when the name is used.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"The token's name {name!r} is not usable.",
            hint="Use up to 63 letters, digits, dashes and underscores.",
        )
    known = [scope.value for scope in Scope]
    if unknown := [scope for scope in scopes if scope not in known]:
        raise UsageError(f"{unknown[0]!r} is not a scope.", hint=f"The scopes: {', '.join(known)}.")
    if not timedelta(0) < life <= LONGEST_LIFE:
        raise UsageError(
            f"A token cannot be valid for {life}.", hint=f"At most {LONGEST_LIFE.days} days are possible."
        )
    token = f"{PREFIX}{secrets.token_urlsafe(32)}"
    try:
        row = await ApiToken.objects.acreate(
            name=name, digest=_digest(token), scopes=sorted(set(scopes), key=known.index), created_by=actor,
            expires_at=timezone.now() + life,
        )  # fmt: skip
    except IntegrityError:
        raise Refused(
            f"There is already a token called {name!r}.", hint=f"Revoke it with `offload token rm {name}`."
        ) from None
    return row, token


async def list_tokens() -> Sequence[ApiToken]:
    """Return the tokens that were not revoked, those that have expired included."""
    return [row async for row in ApiToken.objects.all()]


async def remove_token(name: str) -> None:
    """Revoke a token at once. Raises `NotFound`."""
    deleted, _ = await ApiToken.objects.filter(name=name).adelete()
    if not deleted:
        raise NotFound(f"There is no token called {name!r}.", hint="`offload token ls` lists them.")


@sync_to_async
def check_token(token: str) -> ApiToken | None:
    """Return the row of a token; None when it is unknown, was revoked or has expired."""
    now = timezone.now()
    row = ApiToken.objects.filter(digest=_digest(token), expires_at__gt=now).first()
    if row is not None:
        old = Q(used_at=None) | Q(used_at__lt=now - _USED_EVERY)
        ApiToken.objects.filter(old, id=row.id).update(used_at=now)
    return row


async def is_valid_token(row: ApiToken) -> bool:
    """Return whether a token that was checked is still valid."""
    return await ApiToken.objects.filter(id=row.id, expires_at__gt=timezone.now()).aexists()


def _digest(token: str) -> str:
    # A token has 256 random bits: a slow hash would add nothing.
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
