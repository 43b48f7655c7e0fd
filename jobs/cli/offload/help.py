"""`offload help [VERB]`: print the help of Offload or of one verb."""

from __future__ import annotations

from jobs.cli.parser import LAUNCH_NAME, fleet_help, make_parser
from jobs.cli.request import Request
from jobs.cli.suggestions import suggest_verb
from jobs.cli.verbs import ACTIONS, OFFLOAD, VERBS
from jobs.errors import NotFound


async def run(request: Request) -> int:
    """Print the help."""
    name = " ".join(request.words)
    if name == "fleet":
        print(fleet_help(), end="")
        return 0
    if name in ACTIONS:
        name = LAUNCH_NAME
    if name and name not in VERBS:
        near = suggest_verb(name, VERBS)
        meant = f"Did you mean {near!r}? " if near else ""
        raise NotFound(f"There is no verb {name!r}.", hint=f"{meant}Verbs: {', '.join([*OFFLOAD, 'fleet'])}.")
    make_parser(name or LAUNCH_NAME).print_help()
    return 0
