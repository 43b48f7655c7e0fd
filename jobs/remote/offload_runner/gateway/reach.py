"""What a call has the model's API do elsewhere: search, fetch an address, call a server, run code. Pure.

An agent without a network could send what it read to any host by way of the API. Only what the agent does
itself is passed on: functions that it runs, and files and pictures in the call.

Sources: https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/overview, https://ai.google.dev/api/caching#Tool,
https://platform.openai.com/docs/api-reference/responses/create.
"""

from __future__ import annotations

import json
import re
from typing import Any, Callable, Dict, List, Tuple

# Tools that the agent runs. Others are the API's own.
_ANTHROPIC = re.compile(r"custom|(bash|text_editor|computer|memory)_[0-9]{8}")
_OPENAI = re.compile(r"function|custom|local_shell|apply_patch")
# Keys, without case and underscores, that name an address or a server.
_SERVERS = frozenset(("mcpservers", "serverurl", "connectorid", "websearchoptions", "fileuri", "fileurl"))
_PICTURE = "imageurl"
# Data of functions, which mean nothing to the API.
_OPAQUE = {"anthropic": ("input",), "gemini": ("args", "response"), "openai": ()}
_MOST = 1_000_000


def outside(api: str, body: bytes) -> str:
    """Return what in a call the API would do elsewhere; empty: nothing. `api`: a name of `APIS`.

    A body that readers may take for different things is one that does.
    """
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return "a body that is not plain JSON"
    if not isinstance(value, dict):
        return "a body that is no object"
    waiting: List[Any] = [value]
    count = 0
    while waiting:
        item = waiting.pop()
        count += 1
        if count > _MOST:
            return "a body of too many parts"
        if isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            found = _of_object(api, item)
            if found:
                return found
            waiting.extend(_inner(api, item))
    return ""


def _of_object(api: str, item: Dict[str, Any]) -> str:
    for key, value in item.items():
        name = _plain(key)
        if name == "tools":
            found = next(filter(None, map(_TOOLS[api], value if isinstance(value, list) else [value])), "")
            if found:
                return "the tool %s" % found[:60]
        elif name in _SERVERS and value:
            return key[:60]
        elif name == _PICTURE and not _is_data(value.get("url") if isinstance(value, dict) else value):
            return "the address of a picture"
    if item.get("type") == "url" and "url" in item:
        return "an address to fetch"
    return ""


def _inner(api: str, item: Dict[str, Any]) -> List[Any]:
    opaque = _OPAQUE[api] if api != "anthropic" or item.get("type") == "tool_use" else ()
    return [value for key, value in item.items() if key not in opaque and _plain(key) != "tools"]


def _anthropic(tool: Any) -> str:
    kind = tool.get("type") if isinstance(tool, dict) else tool
    return "" if kind is None or (isinstance(kind, str) and _ANTHROPIC.fullmatch(kind)) else str(kind)


def _openai(tool: Any) -> str:
    kind = tool.get("type") if isinstance(tool, dict) else tool
    if isinstance(tool, dict) and kind == "namespace":  # Codex groups its functions
        inner = tool.get("tools")
        return next(filter(None, map(_openai, inner if isinstance(inner, list) else [inner])), "")
    return "" if isinstance(kind, str) and _OPENAI.fullmatch(kind) else str(kind)


def _gemini(tool: Any) -> str:
    if not isinstance(tool, dict):
        return str(tool)
    return next((key for key in tool if _plain(key) != "functiondeclarations"), "")


_TOOLS: Dict[str, Callable[[Any], str]] = {"anthropic": _anthropic, "openai": _openai, "gemini": _gemini}


def _plain(key: str) -> str:
    return key.replace("_", "").lower()


def _is_data(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value[:5].lower() == "data:")


def _unique(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _refuse(name: str) -> Any:
    raise ValueError(name)
