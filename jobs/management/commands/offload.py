"""`manage.py offload`: the main command."""

from __future__ import annotations

from typing import Any

from jobs.cli.command import AsyncCommand
from jobs.cli.offload import VERBS, Request
from jobs.cli.parser import LAUNCH, OffloadParser


class Command(AsyncCommand):
    """Run heavy work on a pull request elsewhere, and come back to it."""

    help = LAUNCH.help
    parser_class = OffloadParser
    request: Request | None = None

    async def run(self, **options: Any) -> int:
        """Carry the verb out."""
        self.request = Request(options["words"], options)
        return await VERBS[options["verb"]](self.request)

    def interrupted(self) -> str:
        """Say what goes on without this command."""
        return self.request.if_interrupted if self.request is not None else super().interrupted()
