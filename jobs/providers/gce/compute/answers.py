"""What an answer says: of a refusal in any form, and of lists that spread over scopes. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]


def json_of(response: Any) -> Json | None:
    """Return the JSON object in an HTTP response (of `requests`), or None when it holds none."""
    try:
        found = response.json()
    except (AttributeError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def complaint(response: Any) -> str:
    """Return what an error's response says, whatever form its body has; empty when it says nothing."""
    return words(json_of(response) or {})


def words(body: Mapping[str, Any]) -> str:
    """Return what the JSON of an error says: Google's form, OAuth's, or one with `detail` or `message`."""
    error = body.get("error")
    if isinstance(error, Mapping):
        return words(error) or json.dumps(error)
    said = [error, *(body.get(key) for key in ("message", "error_description", "detail"))]
    texts = [one if isinstance(one, str) else json.dumps(one) for one in said if one]
    return ": ".join(dict.fromkeys(texts))


def items(page: Mapping[str, Any]) -> list[Json]:
    """Return what is on a page of a list; of an aggregated list, what is in all its scopes."""
    found = page.get("items") or []
    if isinstance(found, Mapping):
        scopes = [scope for scope in found.values() if isinstance(scope, Mapping)]
        lists = [part for scope in scopes for part in scope.values() if isinstance(part, list)]
        found = [one for part in lists for one in part]
    return [dict(one) for one in found if isinstance(one, Mapping) and one.get("name")]
