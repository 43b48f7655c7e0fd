"""`offload secret set|ls|rm [NAME]`: store secrets for jobs. Values are never printed."""

from __future__ import annotations

import asyncio
import sys

from jobs import execution
from jobs.cli.output import print_json
from jobs.cli.request import Request, ask_hidden
from jobs.errors import UsageError
from jobs.execution.secret_store import LONGEST, check_kept
from jobs.invocation import command

_WHERE = {"keyring": "the system's keyring", "file": "a file that only you can read"}


async def run(request: Request) -> int:
    """Store, list or remove a secret."""
    action, *names = request.words
    if action == "ls" and not names:
        return await _list(request)
    if action == "ls" or not names:
        raise UsageError(
            f"`secret {' '.join(request.words)}` is not complete.",
            hint="Write secret ls, secret set NAME, or secret rm NAME.",
        )
    name = check_kept(names[0])
    if action == "rm":
        await asyncio.to_thread(execution.secret_store().remove, name)
        _answer(request, {"name": name, "source": None}, f"{name} was removed.")
        return 0
    entry = await asyncio.to_thread(execution.secret_store().set, name, await _value(request, name))
    _answer(request, {"name": name, "source": entry.source}, f"{name} is stored in {_WHERE[entry.source]}.")
    return 0


async def _list(request: Request) -> int:
    entries = await asyncio.to_thread(execution.secret_store().names)
    if request.json:
        print_json("secrets", [{"name": entry.name, "source": entry.source} for entry in entries])
    elif not entries:
        print(f"No secret is stored. Store one: {command('secret set NAME')}")
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
        raise UsageError(
            "No value was given on standard input.", hint=f"Pipe it: ... | {command(f'secret set {name}')}"
        )
    else:
        text = await ask_hidden(f"Value of {name} (it is not shown): ")
    # The newline at the end belongs to the pipe, not to the secret.
    return text.removesuffix("\n").removesuffix("\r")
