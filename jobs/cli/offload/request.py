"""What was typed, and what it means."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
import termios
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs import execution
from jobs.cli.terminal.attach import has_terminal
from jobs.errors import NotConfigured
from jobs.forges.target import Target, parse_target
from jobs.models import Job, Repository
from jobs.playbooks import registry as playbooks


def actor() -> str:
    """Return who types, for the audit events."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


@dataclass
class Request:
    """The words after the verb, and the options."""

    words: list[str]
    options: dict[str, Any] = field(default_factory=dict)
    if_interrupted: str = "Interrupted."  # what Ctrl-C means at this point

    def __getattr__(self, name: str) -> Any:
        try:
            return self.options[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def interactive(self) -> bool:
        """Whether a person can be attached and asked."""
        return has_terminal() and not self.no_input and not self.json

    def target(self) -> Target:
        """Return the target, the first word."""
        return parse_target(self.words[0])

    def action(self) -> str:
        """Return the action, the second word; empty when there is none. Raises `UsageError`."""
        return playbooks.get(self.words[1]).action if len(self.words) > 1 else ""

    async def repository(self, target: Target) -> Repository:
        """Return the repository: --repo, what the target says, the current directory's, the default."""
        return await execution.resolve_repository(self.repo or target.repository, Path.cwd())

    async def job(self) -> Job:
        """Return the one job that target and action mean. Raises `NotFound`, or `UsageError` with choices.

        A session's name, as listings show it, is a target too.
        """
        session = Job.objects.select_related("repository", "worker").filter(session=self.words[0])
        if (named := await session.order_by("-id").afirst()) is not None:
            return named
        target = self.target()
        repository: Repository | None
        try:
            repository = await self.repository(target)
        except NotConfigured:
            # Outside any clone the number alone may still be enough.
            repository = None
        return await execution.find_job(
            repository=repository, target=target.shown, action=self.action(), name=target.name or None
        )

    async def confirm(self, question: str) -> bool:
        """Ask a yes-or-no question; --yes answers it, and nobody to ask means no."""
        if self.yes:
            return True
        if not self.interactive:
            return False
        return (await ask(f"{question} [y/N] ")).lower() in ("y", "yes")


async def ask(prompt: str) -> str:
    """Return the line that the person at the terminal types. Ctrl-C ends the wait at once."""
    print(prompt, end="", file=sys.stderr, flush=True)
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[None] = loop.create_future()
    stdin = sys.stdin.fileno()
    loop.add_reader(stdin, _once, typed)
    try:
        await typed
    finally:
        loop.remove_reader(stdin)
    # One read is one line: the terminal hands out whole lines here.
    return os.read(stdin, 4096).decode(errors="replace").strip()


async def ask_hidden(prompt: str) -> str:
    """Return the line that the person at the terminal types, without showing it."""
    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin)
    quiet = termios.tcgetattr(stdin)
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(stdin, termios.TCSAFLUSH, quiet)
    try:
        return await ask(prompt)
    finally:
        termios.tcsetattr(stdin, termios.TCSAFLUSH, before)
        print(file=sys.stderr)


def _once(typed: asyncio.Future[None]) -> None:
    if not typed.done():
        typed.set_result(None)
