"""`manage.py fleet`: the workers."""

from __future__ import annotations

from argparse import SUPPRESS, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import CommandParser

from jobs.management import fleet
from jobs.management.base import AsyncCommand, Parser


class Command(AsyncCommand):
    """List workers, add a machine of yours, take one off the list."""

    help = """The machines that run jobs.

  manage.py fleet ls
  manage.py fleet add box --provider ssh --host me@box.example:2222 --key ~/.ssh/box
  manage.py fleet rm box"""

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the verbs and their options."""
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Parser)
        options: dict[str, Any] = {"allow_abbrev": False, "formatter_class": RawDescriptionHelpFormatter}
        ls = verbs.add_parser("ls", help="every worker, and what was last seen of it", **options)
        add = verbs.add_parser("add", help="use a machine that is there already", **options)
        rm = verbs.add_parser("rm", help="forget a worker; nothing on it is touched", **options)
        for each in (add, rm):
            each.add_argument("name", help="the worker's name")
        add.add_argument("--provider", choices=["local", "ssh"], default="ssh", help="kind of machine")
        add.add_argument("--host", help="[user@]host[:port], or a name of your OpenSSH config")
        add.add_argument("--jump", help="[user@]host[:port] to go through")
        add.add_argument("--key", help="path of the private key (default: agent and OpenSSH config)")
        add.add_argument("--root", help="Offload's root on the machine (default: ~/.offload there)")
        for each in (ls, add, rm):
            each.add_argument("--json", action="store_true", help="data instead of text")
            each.add_argument("--traceback", action="store_true", help=SUPPRESS)

    async def run(self, **options: Any) -> int:
        """Carry the verb out."""
        verb = {"ls": fleet.ls, "add": fleet.add, "rm": fleet.rm}[options["verb"]]
        return await verb(options)
