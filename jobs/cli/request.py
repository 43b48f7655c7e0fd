"""The words and options of one command, and the questions it may ask."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jobs.cli.verbs import LAUNCH, VERBS

if TYPE_CHECKING:
    import asyncio

    from jobs.forges.target import Target
    from jobs.models import Job, Repository


_OPTIONS = frozenset(option for verb in (LAUNCH, *VERBS.values()) for option in verb.options)


def actor() -> str:
    """Return the name of the user, for the record of events."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def has_terminal() -> bool:
    """Return whether standard input and output are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


@dataclass
class Request:
    """One command: its positional words and, as attributes, its options.

    `if_interrupted`: the message for Ctrl-C at this point.
    """

    words: list[str]
    options: argparse.Namespace = field(default_factory=argparse.Namespace)
    if_interrupted: str = "Interrupted."

    def __getattr__(self, name: str) -> Any:
        # An option that this verb does not have counts as not given.
        if name in _OPTIONS:
            return getattr(self.options, name, None)
        raise AttributeError(name)

    @property
    def pool(self) -> str | None:
        """The name of a pool that --class gives."""
        return getattr(self.options, "class", None)

    @property
    def interactive(self) -> bool:
        """Whether the command may attach and ask."""
        options = self.options
        quiet = getattr(options, "no_input", False) or getattr(options, "json", False)
        return has_terminal() and not quiet

    def target(self) -> Target:
        """Return the target, which is the first word."""
        from jobs.forges.target import parse_target

        return parse_target(self.words[0])

    def action(self) -> str:
        """Return the action, which is the second word; empty when absent. Raises `UsageError`."""
        from jobs.playbooks import registry as playbooks

        return playbooks.get(self.words[1]).action if len(self.words) > 1 else ""

    async def repository(self, target: Target) -> Repository:
        """Return the repository: of --repo, of the target, of the current directory, or the default.

        Raises `UsageError` for `owner/repo#1` of another repository than that of --repo.
        """
        from pathlib import Path

        from jobs import execution
        from jobs.errors import UsageError
        from jobs.forges.target import BRANCH

        found = await execution.resolve_repository(
            self.repo or target.repository, Path.cwd(), change_address=":" in (self.repo or "")
        )
        named = "" if "://" in target.repository else target.repository
        if self.repo and named and named.lower() != found.slug.lower():
            text = f"{named}{target.shown}"
            raise UsageError(
                f"{text} is a pull request of {named}, and --repo names {found.slug}.",
                hint=f"Leave --repo out, or write {BRANCH}{text} if that is the name of a branch.",
            )
        return found

    async def job(self) -> Job:
        """Return the one job that target and action name. Raises `NotFound`, or `UsageError` with choices.

        The name of a session, as lists show it, is a target too.
        """
        from pathlib import Path

        from jobs import execution
        from jobs.client import get_remote
        from jobs.errors import NotConfigured, UsageError
        from jobs.models import Job

        if (remote := get_remote()) is not None:
            return await remote.find_job(self.words[0], self.action(), self.repo or "", Path.cwd())
        session = Job.objects.select_related("repository", "worker", "pool").filter(session=self.words[0])
        if (named := await session.order_by("-id").afirst()) is not None:
            return named
        target = self.target()
        repository: Repository | None
        unexpanded = True
        try:
            repository = await self.repository(target)
        except NotConfigured:
            # Outside a clone the number alone may identify the job.
            repository = None
        else:
            with contextlib.suppress(UsageError):  # no clone has the commit
                typed = target
                target = await execution.expand_commit(target, repository, Path.cwd(), ask_forge=False)
                unexpanded = target is typed
        return await execution.find_job(
            repository=repository,
            target=target.shown,
            action=self.action(),
            name=target.name or None,
            abbreviated=unexpanded,
        )

    async def jobs(self) -> list[Job]:
        """Return the jobs of all targets, each once. Raises as `job` when one of them names none."""
        from jobs.cli.verbs import ACTIONS

        named = len(self.words) > 1 and self.words[-1] in ACTIONS
        targets, action = (self.words[:-1], self.words[-1:]) if named else (self.words, [])
        found = [await Request([target, *action], self.options).job() for target in targets]
        return list({job.id: job for job in found}.values())

    async def confirm(self, question: str) -> bool:
        """Ask a yes-or-no question. --yes answers it; without a terminal the answer is no."""
        if self.yes:
            return True
        if not self.interactive:
            return False
        return (await ask(f"{question} [y/N] ")).lower() in ("y", "yes")


async def ask(prompt: str) -> str:
    """Return the line that is typed at the terminal. Ctrl-C ends the wait at once."""
    import asyncio

    print(prompt, end="", file=sys.stderr, flush=True)
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[None] = loop.create_future()
    stdin = sys.stdin.fileno()
    loop.add_reader(stdin, _set_once, typed)
    try:
        await typed
    finally:
        loop.remove_reader(stdin)
    # The terminal is in line mode, so one read returns one line.
    return os.read(stdin, 4096).decode(errors="replace").strip()


async def ask_hidden(prompt: str) -> str:
    """Return the line that is typed at the terminal, without showing it."""
    import termios

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


def _set_once(typed: asyncio.Future[None]) -> None:
    if not typed.done():
        typed.set_result(None)


def make_request(words: Sequence[str] = (), **options: Any) -> Request:
    """Return a request with these words and options."""
    return Request(list(words), argparse.Namespace(**options))
