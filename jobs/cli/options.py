"""What a verb and its options are, and the options that several verbs have.

Data only. It needs no Django, so that `offload --help` and completion start fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Option:
    """One option. `takes`: the name of its value in the help; empty for a flag.

    `complete`: what completion offers as its value (`worker`, `repository`), besides `choices`.
    """

    help: str
    takes: str = ""
    short: str = ""
    read: Callable[[str], Any] = str
    default: Any = None
    repeat: bool = False
    choices: tuple[str, ...] = ()
    negatable: bool = False
    complete: str = ""

    @property
    def is_flag(self) -> bool:
        """Whether it takes no value."""
        return not self.takes and not self.choices

    @property
    def initial(self) -> Any:
        """Return its value when it is not given."""
        return False if self.is_flag and not self.negatable and self.default is None else self.default


JSON = Option("print JSON instead of text")
YES = Option("answer every question with yes", short="-y")
NO_INPUT = Option("never ask and never attach, as without a terminal")
FORCE = Option("also when jobs are running there, or work exists nowhere else")
REPO = Option(
    "repository: URL, path or owner/repo (default: upstream of the current directory)",
    "REPO",
    "-R",
    complete="repository",
)
ENGINE = Option("docker, 'sudo -n docker' or podman (default: the first that answers)", "COMMAND")

ANSWERS = {"yes": YES, "no_input": NO_INPUT, "json": JSON}


@dataclass(frozen=True)
class Verb:
    """A verb. `words`: its positional words as the usage line shows them, for example `TARGET [ACTION]`.

    The module `jobs.cli.offload.<verb>` (or `jobs.cli.fleet.<verb>`) has its function `run`.
    `django`: the verb is a Django command of another package, which parses its own options.
    `remote`: what it does when OFFLOAD_URL names a dashboard: it `works` with that, is `local` all the same,
    or is `refused`.
    """

    words: str
    help: str
    options: Mapping[str, Option] = field(default_factory=dict)
    details: str = ""
    example: str = ""
    django: bool = False
    remote: Literal["works", "local", "refused"] = "refused"

    @property
    def names(self) -> tuple[str, ...]:
        """Return the name of each word."""
        return tuple(self.words.translate(str.maketrans("", "", "[].")).split())

    @property
    def repeats(self) -> bool:
        """Return whether it takes any number of words."""
        return "..." in self.words

    @property
    def least(self) -> int:
        """Return how many words it needs."""
        return len(self.words.partition("[")[0].split())
