"""`open-agent`: become an agent that has this terminal, with a fresh copy of its profile."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

from jobs.remote.offload_runner.commands import profile
from jobs.remote.offload_runner.engine.task import EXIT_CANNOT_RUN, EXIT_NO_PROGRAM
from jobs.remote.offload_runner.files.paths import AGENT, job_paths
from jobs.remote.offload_runner.files.removal import remove_tree

_VERSION_SECONDS = 60.0
_SHOWN = 200


def main(options: argparse.Namespace) -> int:
    """Replace this process by the agent; return an exit code, and say why, when that fails."""
    call: Dict[str, Any] = json.loads(options.call)
    paths = job_paths(options.root, options.session)
    place = paths.place(AGENT)
    about = call["profile"]
    home = place.home / (str(about["name"]) if about else "agent")
    reports = paths.agent_reports
    remove_tree(reports)
    reports.mkdir(parents=True, mode=0o700)
    places = {"{home}": str(home), "{worktree}": str(paths.worktree), "{reports}": str(reports)}
    places.update({"{session}": str(call["session"]), "{model_url}": os.environ.get("OFFLOAD_MODEL_URL", "")})
    if about:
        profile.copy(options.root / str(about["name"]), home, about["keep"], str(about["digest"]), places)
    argv = [placed(word, places) for word in call["resume" if call["session"] else "argv"]]
    env = {**os.environ, "HOME": str(home)}
    env.update({name: placed(text, places) for name, text in call["env"].items()})
    cwd = Path(placed(str(call["cwd"]), places))
    cwd.mkdir(parents=True, exist_ok=True)
    program = shutil.which(argv[0], path=env.get("PATH"))
    if program is None:
        sys.stderr.write("%s is not installed on this worker.\n" % argv[0])
        return EXIT_NO_PROGRAM
    unusable = _check_version(program, call["oldest"], env, home) if call["oldest"] else ""
    if unusable:
        sys.stderr.write("%s\n" % unusable)
        return EXIT_NO_PROGRAM
    os.chdir(str(cwd))
    try:
        os.execve(program, argv, env)  # noqa: S606 - a list of words
    except OSError as error:
        sys.stderr.write("Starting %s failed: %s.\n" % (argv[0], error.strerror))
        return EXIT_CANNOT_RUN


def placed(text: str, places: Dict[str, str]) -> str:
    """Return a text with its placeholders filled in."""
    for name, path in places.items():
        text = text.replace(name, path)
    return text


def _check_version(program: str, oldest: List[int], env: Dict[str, str], cwd: Path) -> str:
    """Return why a program is not used, "" if it is: an old one may not know the hooks that report."""
    cwd.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            [program, "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=env, cwd=str(cwd), timeout=_VERSION_SECONDS, check=False,
        )  # fmt: skip
        lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    except (OSError, subprocess.TimeoutExpired) as error:
        lines = [str(error)]
    last = lines[-1][:_SHOWN] if lines else ""
    found = re.match(r"\D*(\d+)\.(\d+)", last)
    if found is not None and [int(found[1]), int(found[2])] >= list(oldest):
        return ""
    needed = ".".join(map(str, oldest))
    name = os.path.basename(program)
    return "%s is not used: version %s or newer is needed, and it says %r." % (name, needed, last)
