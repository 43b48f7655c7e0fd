"""Names for the workers in OpenSSH's own configuration."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import NotFound, UsageError
from jobs.models import Worker
from jobs.operations.confirmation import ConfirmationPlan
from jobs.workers import ssh_config
from jobs.workers.records import achange_settings


@dataclass(frozen=True)
class SshNames:
    """The names that were written. `included`: whether the user's own configuration includes the file.

    `include_line`: the line that includes it; `commands`: what reaches each worker, by its name.
    """

    path: Path
    included: bool
    include_line: str
    user_config: Path
    aliases: dict[str, str]
    commands: dict[str, str]


async def write_ssh_names(worker: str = "", alias: str = "") -> SshNames:
    """Write a file with every ssh worker; `alias` becomes the name of `worker`.

    Raises `UsageError` when only one of them is given or the alias is not usable, `NotFound` without an ssh
    worker. The user's own configuration is not changed; see `include_ssh_names`.
    """
    workers = [row async for row in Worker.objects.exclude(provider="local").order_by("id")]
    if worker or alias:
        _set_alias(workers, worker, alias)
    if not workers:
        raise NotFound("There is no ssh worker.", hint="Add one: `offload fleet add NAME --host user@host`.")
    aliases = ssh_config.choose_aliases(workers)
    text = await ssh_config.render(workers, aliases)
    path = await asyncio.to_thread(ssh_config.write, text)
    for row in workers:
        row.config = (await achange_settings(row.id, alias=aliases[row.name])).config
    return SshNames(
        path,
        await asyncio.to_thread(ssh_config.is_included),
        ssh_config.include_line(),
        ssh_config.user_config(),
        {name: aliases[name] for name in sorted(aliases)},
        {row.name: f"ssh {ssh_config.words_for_ssh(row)}" for row in workers},
    )


def plan_include() -> ConfirmationPlan:
    """Return the question whether the user's own configuration may include the file."""
    line, path = ssh_config.include_line(), ssh_config.user_config()
    return ConfirmationPlan(f"Add one line, {line!r}, to {path}?")


async def include_ssh_names() -> bool:
    """Add the Include line to the user's own configuration; return whether it is there now."""
    return await asyncio.to_thread(ssh_config.include)


def _set_alias(workers: list[Worker], name: str, alias: str) -> None:
    if not name or not alias:
        raise UsageError(
            "An alias needs a worker, and a worker needs an alias.",
            hint="Write fleet ssh-config WORKER --alias NAME.",
        )
    chosen = next((worker for worker in workers if worker.name == name), None)
    if chosen is None:
        raise NotFound(f"There is no ssh worker called {name!r}.", hint="See `offload fleet ls`.")
    ssh_config.check_alias(alias, chosen, workers)
    chosen.config = {**chosen.config, "alias": alias}
