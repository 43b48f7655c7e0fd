"""`offload fleet ssh-config`: write names for `ssh` into a file that the user's configuration can include."""

from __future__ import annotations

from jobs import operations
from jobs.cli.output import print_json, say
from jobs.cli.request import Request


async def run(request: Request) -> int:
    """Write the file; add the Include line only with the user's consent."""
    names = await operations.write_ssh_names(next(iter(request.words), ""), request.alias or "")
    included = names.included
    if not included and (request.yes or await request.confirm(operations.plan_include().question)):
        included = await operations.include_ssh_names()
    if request.json:
        print_json("ssh_config", {"path": str(names.path), "included": included,
                                  "include": names.include_line, "hosts": names.aliases})  # fmt: skip
        return 0
    for worker, command in names.commands.items():
        print(f"{worker}: {command}")
    if included:
        print(f"{names.user_config} includes {names.path}.")
    else:
        say(
            f"To use these names everywhere, put this line at the top of {names.user_config} (or pass --yes):"
        )
        say(f"    {names.include_line}")
    return 0
