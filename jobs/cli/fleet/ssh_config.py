"""`manage.py fleet ssh-config`: names for the workers in OpenSSH's own configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from jobs.cli.output import print_json, say
from jobs.cli.request import ask, has_terminal
from jobs.errors import NotFound, UsageError
from jobs.models import Worker
from jobs.workers import ssh_config as config


async def ssh_config(options: Mapping[str, Any]) -> int:
    """Write our file with every ssh worker; the user's own gets one line, on the user's word only."""
    workers = [worker async for worker in Worker.objects.exclude(provider="local").order_by("id")]
    await _set_alias(workers, options["name"], options["alias"])
    if not workers:
        raise NotFound("There is no ssh worker.", hint="Add one: manage.py fleet add NAME --host user@host")
    aliases = config.choose_aliases(workers)
    text = await config.render(workers, aliases)
    path = await asyncio.to_thread(config.write, text)
    for worker in workers:
        if worker.config.get("alias") != aliases[worker.name]:
            worker.config = {**worker.config, "alias": aliases[worker.name]}
        await Worker.objects.filter(id=worker.id).aupdate(config=worker.config)
    included = await asyncio.to_thread(config.is_included)
    if not included and (options["yes"] or await _agreed(options)):
        included = await asyncio.to_thread(config.include)
    hosts = {name: aliases[name] for name in sorted(aliases)}
    if options["json"]:
        shown = {"path": str(path), "included": included, "include": config.include_line(), "hosts": hosts}
        print_json("ssh_config", shown)
        return 0
    for worker in workers:
        print(f"{worker.name}: ssh {config.words_for_ssh(worker)}")
    if included:
        print(f"{config.user_config()} includes {path}.")
    else:
        say(
            f"To use the names everywhere, put this line at the top of {config.user_config()} (or use --yes):"
        )
        say(f"    {config.include_line()}")
    return 0


async def _agreed(options: Mapping[str, Any]) -> bool:
    if options["json"] or not has_terminal():
        return False
    answer = await ask(f"Add one line, {config.include_line()!r}, to {config.user_config()}? [y/N] ")
    return answer.lower() in ("y", "yes")


async def _set_alias(workers: list[Worker], name: str | None, alias: str | None) -> None:
    if not name and not alias:
        return
    if not name or not alias:
        raise UsageError(
            "A name for ssh is given to one worker.", hint="Write fleet ssh-config WORKER --alias NAME."
        )
    chosen = next((worker for worker in workers if worker.name == name), None)
    if chosen is None:
        raise NotFound(f"There is no ssh worker called {name!r}.", hint="See `manage.py fleet ls`.")
    config.check_alias(alias, chosen, workers)
    chosen.config = {**chosen.config, "alias": alias}
