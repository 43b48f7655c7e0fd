"""The field `gateway` of a plan's task, checked. Pure.

    {"api": "gemini|anthropic|openai", "env": {NAME: text}, "url": the API's address (empty: its usual one),
     "secret": name of the key, "budget": {"tokens", "dollars", "calls"},
     "prices": {"input", "output", "cached"} in dollars per million tokens}

`{url}` in a text of `env` is the gateway's address for the task.
"""

from __future__ import annotations

import urllib.parse
from typing import Any, List

from jobs.remote.offload_runner.gateway.apis import APIS

_FIELDS = frozenset({"api", "env", "url", "secret", "budget", "prices"})
_NUMBERS = {"budget": {"tokens", "dollars", "calls"}, "prices": {"input", "output", "cached"}}


def problems(spec: Any) -> List[str]:
    """Return what is wrong with a task's `gateway`; empty: nothing."""
    if not isinstance(spec, dict):
        return ["it is not a table"]
    said = ["the field %s is unknown" % name for name in sorted(set(spec) - _FIELDS)]
    if spec.get("api") not in APIS:
        said.append("api is %r, not one of %s" % (spec.get("api"), ", ".join(sorted(APIS))))
    env = spec.get("env") or {}
    if not isinstance(env, dict) or not all(isinstance(text, str) for text in env.values()):
        said.append("env is not a table of texts")
    if not isinstance(spec.get("secret") or "", str):
        said.append("secret is not a name")
    said += _address(str(spec.get("url") or ""))
    for name, known in _NUMBERS.items():
        table = spec.get(name) or {}
        if not isinstance(table, dict) or not all(
            key in known and isinstance(number, (int, float)) and number >= 0 for key, number in table.items()
        ):
            said.append("%s is not a table of numbers: %s" % (name, ", ".join(sorted(known))))
    return said or _money(spec)


def _money(spec: Any) -> List[str]:
    prices = spec.get("prices") or {}
    if prices and not {"input", "output"} <= set(prices):
        return ["prices lack input or output"]
    if (spec.get("budget") or {}).get("dollars") and not prices:
        return ["a budget of dollars needs prices"]
    return []


def _address(url: str) -> List[str]:
    if not url:
        return []
    try:
        parts = urllib.parse.urlsplit(url)
        fits = parts.port is None or parts.port > 0
    except ValueError:
        return ["url is not an address"]
    if not fits or parts.scheme not in ("http", "https") or not parts.hostname:
        return ["url is not an http or https address"]
    if parts.username or parts.password or parts.query or parts.fragment:
        return ["url has more than a host and a path"]
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        return ["url would send the key without TLS"]
    return []
