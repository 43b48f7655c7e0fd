"""`log`, `peek`, `diff`: raw bytes for the other side to show."""

from __future__ import annotations

import argparse
from typing import Any, List, Mapping

from jobs.remote.offload_runner import wire
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import JobPaths, existing_job, mirror, read_json
from jobs.remote.offload_runner.git.command import Git
from jobs.remote.offload_runner.protocol import EXIT_NOT_FOUND, EXIT_OK, EXIT_USAGE, load_plan
from jobs.remote.offload_runner.screen.tmux import from_options

_BLOCK = 1024 * 1024


def main(options: argparse.Namespace) -> int:
    """Print what the command is named after."""
    paths = existing_job(options.root, options.session)
    if options.command == "log":
        return _log(paths, options)
    if options.command == "peek":
        return _peek(paths, options)
    return _diff(paths, options)


def _log(paths: JobPaths, options: argparse.Namespace) -> int:
    data = read_json(paths.plan)
    known = [task.id for task in load_plan(data).tasks] if data else []
    if options.task not in known:
        hint = "Its tasks: %s." % ", ".join(known) if known else "It has no plan yet."
        raise RunnerError(
            "not_found", "%s has no task %r." % (paths.session, options.task), hint, EXIT_NOT_FOUND
        )
    if options.offset < 0 or (options.limit is not None and options.limit < 0):
        raise RunnerError("usage", "Offset and limit are not negative numbers.", "", EXIT_USAGE)
    left = options.limit
    try:
        with open(str(paths.log(options.task)), "rb") as file:
            file.seek(options.offset)
            while left is None or left > 0:
                block = file.read(_BLOCK if left is None else min(_BLOCK, left))
                if not block:
                    break
                wire.emit_bytes(block)
                left = None if left is None else left - len(block)
    except FileNotFoundError:
        # A task that did not start yet has said nothing.
        pass
    return EXIT_OK


def _peek(paths: JobPaths, options: argparse.Namespace) -> int:
    text = from_options(options).capture(paths.session, max(0, options.lines))
    if text is None:
        raise RunnerError(
            "no_session",
            "The tmux session %s is not there." % paths.session,
            "Its logs are still there.",
            EXIT_NOT_FOUND,
        )
    wire.emit_bytes(text.rstrip().encode() + b"\n")
    return EXIT_OK


def _diff(paths: JobPaths, options: argparse.Namespace) -> int:
    prepared = read_json(paths.prepared) or {}
    base, head = prepared.get("merge_base"), prepared.get("sha")
    done = read_json(paths.job_dir / "rounds.json") or {}
    if done.get("rounds"):
        base, head = head, done["rounds"][-1]["commit"]  # what a fix changes
    if not base or not head:
        raise RunnerError(
            "no_base",
            "%s has no base to compare with." % paths.session,
            "Its head shares no commit with the base branch, or it was prepared without one.",
            EXIT_NOT_FOUND,
        )
    answers = "".join("# %s\n" % line for line in _commits(done)).encode()
    words = ["diff", "--no-color", "--no-ext-diff", "--no-textconv", *(["--stat"] if options.stat else [])]
    # From the mirror, by commit: nothing in the worktree has a say in it.
    git = Git(str(mirror(paths.root, str(prepared["repository"]))))
    change = git.beginning(options.limit, *words, str(base), str(head), "--")
    wire.emit_bytes((answers + change)[: options.limit])
    return EXIT_OK


def _commits(done: Mapping[str, Any]) -> List[str]:
    """Return the commits of a fix and what each answers, as lines that git passes over in a patch."""
    lines: List[str] = []
    for part in (part for item in done.get("rounds") or [] for part in item.get("parts") or []):
        if part["commit"]:
            lines.append("%s %s" % (part["commit"][:10], part["subject"]))
            lines += ["    answers: %s" % done["to_do"][number]["title"] for number in part["topics"]]
    return [" ".join(line.split("\n")) for line in lines]
