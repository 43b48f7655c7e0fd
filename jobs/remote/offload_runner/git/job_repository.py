"""git in a repository whose settings a job's code can write: no program that they name is run."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Dict, List

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.git.command import Git, shown, split, text

_SECONDS = 60.0
_MOST_REPOSITORIES = 500
_FILTER = re.compile(r"filter\.(.*)\.[^.]*", re.DOTALL)
_SUBMODULE = b"160000 "


def in_job(tree: Path) -> Git:
    """Return git in a job's worktree. It talks to no other repository, and applies no filters.

    git also looks at the submodules, by their own settings, so filters that these name are left out as well.
    Raises `RunnerError` (`git_failed`, `unsaved_unknown`).
    """
    found: Dict[str, None] = {}
    waiting = [tree]
    seen = 0
    while waiting:
        folder = waiting.pop()
        seen += 1
        if seen > _MOST_REPOSITORIES:
            raise _unknown(tree, "it has more than %d submodules" % _MOST_REPOSITORIES)
        git = Git(str(folder), settings=())
        for key in split(git.run("config", "--list", "--name-only", "-z", deadline=_SECONDS).stdout):
            match = _FILTER.fullmatch(text(key))
            if match:
                found[match[1]] = None
        for line in split(git.run("ls-files", "--stage", "-z", deadline=_SECONDS).stdout):
            if line.startswith(_SUBMODULE):
                inner = Path(os.path.join(str(folder), text(line.partition(b"\t")[2])))
                if os.path.lexists(str(inner / ".git")):
                    waiting.append(inner)
    settings: List[str] = []
    for name in found:
        if "=" in name or "\n" in name:
            raise _unknown(tree, "its settings name the filter %s" % shown(name))
        settings += ["filter.%s.%s=" % (name, key) for key in ("clean", "smudge", "process")]
        settings.append("filter.%s.required=false" % name)
    return Git(str(tree), settings=tuple(settings))


def _unknown(tree: Path, why: str) -> RunnerError:
    return RunnerError(
        "unsaved_unknown",
        "What is unsaved in %s is unknown: %s." % (tree, why),
        "Use --force to remove it all the same.",
    )
