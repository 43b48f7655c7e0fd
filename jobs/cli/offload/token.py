"""`offload token add|ls|rm [NAME]`: the tokens of the HTTP API. A token is printed once, when it is made."""

from __future__ import annotations

import json
from datetime import timedelta

from jobs.cli.output import SCHEMA, print_json, say
from jobs.cli.request import Request, actor
from jobs.errors import UsageError
from jobs.formats import format_age
from jobs.operations import add_token, list_tokens, remove_token
from jobs.serializers import token_json
from jobs.states import Scope


async def run(request: Request) -> int:
    """Make, list or revoke a token."""
    action, *names = request.words
    if action not in ("add", "ls", "rm") or (action == "ls") != (not names):
        raise UsageError(
            f"`token {' '.join(request.words)}` is not complete.",
            hint="Write token ls, token add NAME, or token rm NAME.",
        )
    if action != "add" and request.scope:
        raise UsageError("Only `token add` takes --scope.", hint="Revoke the token and make another one.")
    if action == "ls":
        return await _list(request)
    if action == "rm":
        await remove_token(names[0])
        if request.json:
            print_json("token", {"name": names[0]})
        else:
            print(f"{names[0]} is revoked.")
        return 0
    scopes = request.scope or [Scope.READ.value]
    row, token = await add_token(names[0], scopes, actor(), timedelta(days=request.days))
    if request.json:
        print(json.dumps({"schema": SCHEMA, "token": token_json(row), "secret": token}, indent=2))
        return 0
    say(f"{row.name} may {', '.join(row.scopes)} until {row.expires_at:%Y-%m-%d}. It is not shown again:")
    print(token)
    return 0


async def _list(request: Request) -> int:
    rows = await list_tokens()
    if request.json:
        print_json("tokens", [token_json(row) for row in rows])
    elif not rows:
        say("There is no token. Make one: `manage.py offload token add NAME`")
    for row in () if request.json else rows:
        used = f"used {format_age(row.used_at)}" if row.used_at else "never used"
        print(f"{row.name:<24} {','.join(row.scopes):<24} until {row.expires_at:%Y-%m-%d}  {used}")
    return 0
