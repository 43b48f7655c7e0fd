"""`manage.py fleet`: the workers."""

from __future__ import annotations

from argparse import SUPPRESS, BooleanOptionalAction, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import CommandParser

from jobs.cli.command import AsyncCommand, Parser
from jobs.cli.fleet import add, ssh_config
from jobs.cli.fleet import parser as machine_verbs
from jobs.cli.fleet.image import add_image_arguments, image_verb


class Command(AsyncCommand):
    """List workers, add a machine of yours, take one off the list."""

    help = """The machines that run jobs.

  manage.py fleet ls
  manage.py fleet add box --host me@box.example:2222 --key ~/.ssh/box
  manage.py fleet add laptop --provider local --container
  manage.py fleet ssh-config            then: ssh gcli-worker
  manage.py fleet image build           then: manage.py fleet image check
  manage.py fleet rm box
  manage.py fleet provision big --project P --image IMAGE@sha256:...    made for you at Google
  manage.py fleet provision tour --simulate                             the same, with nothing real"""

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the verbs and their options."""
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Parser)
        options: dict[str, Any] = {"allow_abbrev": False, "formatter_class": RawDescriptionHelpFormatter}
        ls = verbs.add_parser("ls", help="every worker, and what was last seen of it", **options)
        add = verbs.add_parser("add", help="use a machine that is there already", **options)
        rm = verbs.add_parser("rm", help="forget a worker; nothing on it is touched", **options)
        ssh = verbs.add_parser("ssh-config", help="names for `ssh`, to get in by hand", **options)
        image = verbs.add_parser("image", help="build the container's image; compare it", **options)
        add_image_arguments(image)
        for each in (add, rm):
            each.add_argument("name", help="the worker's name")
        ssh.add_argument("name", nargs="?", help="the worker that --alias names")
        add.add_argument("--provider", choices=["local", "ssh"], default="ssh", help="kind of machine")
        add.add_argument("--host", help="[user@]host[:port], or a name of your OpenSSH config")
        add.add_argument("--jump", help="[user@]host[:port] to go through")
        add.add_argument("--key", help="path of the private key (default: agent and OpenSSH config)")
        add.add_argument("--container", action=BooleanOptionalAction, help="run jobs in a container there")
        add.add_argument("--image", help="the container's image (by digest, or a name)")
        add.add_argument("--engine", help="docker, 'sudo -n docker' or podman (default: what answers)")
        add.add_argument("--network", help="the container's network (default: bridge)")
        add.add_argument("--isolation", choices=["worker", "job"], help="one container for all jobs, or each")
        for each in (add, ssh):
            each.add_argument("--alias", help="the name for `ssh` (default: gcli-worker, then gcli-NAME)")
        ssh.add_argument("--yes", action="store_true", help="also add the Include line to ~/.ssh/config")
        add.add_argument("--root", help="Offload's root on the machine (default: ~/.offload there)")
        for each in (ls, add, rm, ssh, image):
            each.add_argument("--json", action="store_true", help="data instead of text")
            each.add_argument("--traceback", action="store_true", help=SUPPRESS)

        machine_verbs.add_verbs(verbs, **options)

    async def run(self, **options: Any) -> int:
        """Carry the verb out."""
        verbs = {
            "ls": add.ls,
            "add": add.add,
            "rm": add.rm,
            "ssh-config": ssh_config.ssh_config,
            "image": image_verb,
        }
        if options["verb"] in machine_verbs.VERBS:
            return await machine_verbs.VERBS[options["verb"]][0](options)
        return await verbs[options["verb"]](options)
