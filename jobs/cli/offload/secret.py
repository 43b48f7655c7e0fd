"""The verb `secret`: names go in and out, values only in."""

from __future__ import annotations

import asyncio
import sys

from jobs import execution
from jobs.cli.offload.request import Request, ask_hidden
from jobs.cli.output import print_json
from jobs.errors import UsageError
from jobs.execution.secret_store import LONGEST, check_name

_WHERE = {"keyring": "the system's keyring", "file": "a file that only you can read"}


async def secret(request: Request) -> int:
    """`offload secret set|ls|rm [NAME]`."""
    action, *names = request.words
    if action == "ls" and not names:
        return await _list(request)
    if action not in ("set", "rm") or not names:
        raise UsageError(
            f"`secret {' '.join(request.words)}` is nothing that can be done.",
            hint="Write secret ls, secret set NAME, or secret rm NAME.",
        )
    name = check_name(names[0])
    if action == "rm":
        await asyncio.to_thread(execution.secret_store().remove, name)
        _answer(request, {"name": name, "source": None}, f"{name} is removed.")
        return 0
    entry = await asyncio.to_thread(execution.secret_store().set, name, await _value(request, name))
    _answer(request, {"name": name, "source": entry.source}, f"{name} is kept in {_WHERE[entry.source]}.")
    return 0


async def _list(request: Request) -> int:
    entries = await asyncio.to_thread(execution.secret_store().names)
    if request.json:
        print_json("secrets", [{"name": entry.name, "source": entry.source} for entry in entries])
    elif not entries:
        print("No secret is kept. `manage.py offload secret set NAME` keeps one.")
    for entry in () if request.json else entries:
        print(f"{entry.name:<32} {_WHERE[entry.source]}")
    return 0


def _answer(request: Request, data: dict[str, str | None], text: str) -> None:
    if request.json:
        print_json("secret", data)
    else:
        print(text)


async def _value(request: Request, name: str) -> str:
    if not sys.stdin.isatty():
        text = sys.stdin.read(LONGEST + 2)
    elif request.no_input:
        raise UsageError("The value comes from standard input.", hint=f"... | offload secret set {name}")
    else:
        text = await ask_hidden(f"Value of {name} (it is not shown): ")
    # The end of the line is the pipe's, not the secret's.
    return text.removesuffix("\n").removesuffix("\r")
