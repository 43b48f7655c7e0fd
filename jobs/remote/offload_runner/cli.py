"""The runner's command line: `python3 runner-<digest>.pyz --root ROOT COMMAND [options]`.

Each command lives in the module of `COMMANDS` and is imported only when asked for: a zipapp compiles what
it imports every time it starts.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import List, Sequence

from jobs.remote.offload_runner import wire
from jobs.remote.offload_runner.engine.containers import Containers
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.protocol import EXIT_OK, EXIT_SOFTWARE, EXIT_UNAVAILABLE, EXIT_USAGE

# Command -> (module, whether stdout begins with the hello line). Each module has `main(options) -> int`.
COMMANDS = {
    "hello": ("hello", True),
    "prepare": ("prepare", True),
    "heads": ("heads", True),
    "secrets": ("secrets", True),
    "profile": ("profile", True),
    "copy-profile": ("profile", False),
    "call-agent": ("agent", False),
    "open-agent": ("open_agent", False),
    "answer": ("answer", True),
    "scratch": ("scratch", False),
    "start": ("start", True),
    "run": ("run", False),
    "follow": ("follow", True),
    "status": ("follow", True),
    "screens": ("screens", True),
    "record": ("record", False),
    "shell": ("shell", False),
    "stop": ("stop", True),
    "clean": ("clean", True),
    "log": ("show", False),
    "peek": ("show", False),
    "diff": ("show", False),
    "get-file": ("files", False),
    "put-file": ("files", False),
    "step": ("step", False),
    "supervise": ("supervise", False),
    "unsaved": ("unsaved", False),
    "reset": ("reset", False),
    "commits": ("commits", False),
    "trees": ("trees", True),
    "watchdog": ("watchdog", False),
}
# A second hello line in a stream of raw bytes would be part of the bytes; `run` and `step` speak to people.


# git runs in the control container, where there is one.
_IN_CONTROL = ("prepare", "heads", "diff")


def parser() -> argparse.ArgumentParser:
    """Return the grammar of the command line."""
    top = argparse.ArgumentParser(prog="offload-runner", description="Runs Offload's jobs on this machine.")
    top.add_argument("--root", required=True, help="absolute path of Offload's directory on this machine")
    top.add_argument("--tmux", default="tmux", help="the tmux program")
    top.add_argument("--git", default="git", help="the git program; its directory comes first on the PATH")
    top.add_argument("--tmux-socket", default="", help="name of the tmux server; empty: the default one")
    top.add_argument("--containers", default="", help="JSON: where tasks and git run; empty: here")
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("hello", help="say who this is")
    commands.add_parser("prepare", help="fetch a commit and lay out its worktree (request on stdin)")
    commands.add_parser("heads", help="say where refs of a repository are now (request on stdin)")
    _on_job(commands, "secrets", "keep a job's secrets in memory for its start (request on stdin)")
    commands.add_parser("profile", help="make an agent's profile what it must be (request on stdin)")
    _on_job(commands, "copy-profile", "copy an agent's profile into a job's HOME (request on stdin)")
    call = commands.add_parser("call-agent", help="run an agent with its outputs apart (frames on stdout)")
    call.add_argument("--cwd", required=True)
    call.add_argument("words", nargs=argparse.REMAINDER)
    opened = _on_job(commands, "open-agent", "become an agent that has this terminal")
    opened.add_argument("call", help="JSON: how it is called")
    _on_job(commands, "answer", "type to the agent that waits in a job's pane (request on stdin)")
    scratch = _on_job(commands, "scratch", "make the tree that an agent edits, or print what it changed")
    scratch.add_argument("what", choices=("make", "take"))
    scratch.add_argument("--repository", required=True)
    scratch.add_argument("--commit", required=True)
    scratch.add_argument("--merge", default="", help="with make: a commit to merge, conflicts and all")
    scratch.add_argument("--limit", type=int, default=0, help="with take: in bytes")
    commands.add_parser("start", help="start a plan in a tmux session (request on stdin)")
    run = _on_job(commands, "run", "work through a job's plan in this terminal")
    run.add_argument("--retry", action="store_true", help="after the job ended: run again what failed")
    _on_job(commands, "shell", "a shell where the job's tasks run")
    supervise = _on_job(commands, "supervise", "start tasks for a runner (frames on stdin and stdout)")
    supervise.add_argument("--in-container", action="store_true", help="run tasks as the container's user")
    supervise.add_argument("--shell", action="store_true", help="for a shell next to the job's tasks")
    supervise.add_argument("--sweep", action="store_true", help="only end what an earlier one left")
    supervise.add_argument("--mounted", default="{}", help=argparse.SUPPRESS)
    unsaved = _on_job(commands, "unsaved", "list or bundle work that is nowhere else")
    unsaved.add_argument("what", choices=("list", "bundle"))
    unsaved.add_argument("--pushed", action="append", default=[], help="with list: a commit that is pushed")
    commands.add_parser("reset", help="bring a tree back to what it was before tests (request on stdin)")
    made = _on_job(commands, "commits", "print a git bundle of the commits made in a worktree")
    made.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    _on_job(commands, "trees", "remove a job's worktrees, HOME and refs")
    _on_job(commands, "record", "record a session's pane (output on stdin)")
    follow = commands.add_parser("follow", help="stream the events of every job (request on stdin)")
    follow.add_argument("--once", action="store_true", help="end after what is known now")
    commands.add_parser("screens", help="stream what sessions show (their names on stdin, line by line)")
    status = commands.add_parser("status", help="say how jobs are now")
    status.add_argument("--session", action="append", default=[], help="only this one (repeatable)")
    stop = _on_job(commands, "stop", "end everything that runs for a job")
    stop.add_argument("--grace", type=float, default=5.0, help="seconds between SIGTERM and SIGKILL")
    clean = _on_job(commands, "clean", "remove a job from this machine")
    clean.add_argument("--force", action="store_true", help="also running or unpushed work, bundled first")
    clean.add_argument("--keep-files", action="store_true", help="leave the job's directory")
    clean.add_argument("--pushed", action="append", default=[], help="a commit that is pushed (repeatable)")
    clean.add_argument("--check", action="store_true", help="only say whether it would be refused")
    log = _on_job(commands, "log", "print a task's log")
    log.add_argument("--task", required=True)
    log.add_argument("--offset", type=int, default=0)
    log.add_argument("--limit", type=int, default=None)
    peek = _on_job(commands, "peek", "print the text of a session's screen")
    peek.add_argument("--lines", type=int, default=200, help="of the history above the screen")
    diff = _on_job(commands, "diff", "print the change under review")
    diff.add_argument("--stat", action="store_true")
    diff.add_argument("--limit", type=int, required=True, help="in bytes; the rest is cut off")
    get = _on_job(commands, "get-file", "print a file of the worktree")
    get.add_argument("--limit", type=int, required=True, help="in bytes")
    put = _on_job(commands, "put-file", "make a file in the top of the worktree (content on stdin)")
    for command in (get, put):
        command.add_argument("path")
    watchdog = commands.add_parser("watchdog", help="turn this machine off when it is idle")
    watchdog.add_argument("--idle-minutes", type=float, default=30.0, help="how long it waits")
    watchdog.add_argument("--off-command", default="systemctl poweroff", help="what turns it off")
    watchdog.add_argument("--proc", default="/proc", help=argparse.SUPPRESS)
    step = commands.add_parser("step", help="a built-in task of a plan")
    step.add_argument("name")
    step.add_argument("--session", required=True)
    return top


def _on_job(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    sub = commands.add_parser(name, help=text)
    sub.add_argument("--session", required=True)
    return sub


def main(argv: Sequence[str]) -> int:
    """Run one command; return its exit code."""
    try:
        options = parser().parse_args(list(argv))
    except SystemExit as stop:
        return EXIT_USAGE if stop.code else EXIT_OK
    _heed_signals()
    options.root = Path(options.root)
    try:
        options.containers = Containers.parse(options.containers)
    except RunnerError as error:
        return _fail(error, False)
    if os.path.dirname(options.git):
        os.environ["PATH"] = os.pathsep.join(
            [os.path.dirname(options.git), os.environ.get("PATH", os.defpath)]
        )
    module, greets = COMMANDS[options.command]
    os.umask(0o077)
    if options.containers is not None and options.command in _IN_CONTROL:
        words = list(argv)[list(argv).index(options.command) :]
        return _become(options.containers.in_control(options.root, words))
    try:
        if greets:
            wire.emit(wire.hello())
        command = importlib.import_module("jobs.remote.offload_runner.commands." + module)
        code: int = command.main(options)
        return code
    except RunnerError as error:
        return _fail(error, greets)
    except BrokenPipeError:
        return EXIT_UNAVAILABLE
    except OSError as error:
        return _fail(_from_os_error(options.command, error), greets)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        traceback.print_exc()
        failure = RunnerError(
            "internal", "The runner's %s failed: %r." % (options.command, error), "This is a bug."
        )
        failure.exit_code = EXIT_SOFTWARE
        return _fail(failure, greets)


def _become(argv: List[str]) -> int:
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - a list of words
    except OSError as error:
        sys.stderr.write("Starting %s failed: %s.\n" % (argv[0], error.strerror))
        return EXIT_UNAVAILABLE


def _heed_signals() -> None:
    """Undo what `nohup` or a background shell left: sessions and tasks must be able to hear a hang-up."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _from_os_error(command: str, error: OSError) -> RunnerError:
    import errno

    where = " (%s)" % error.filename if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunnerError(
            "no_space",
            "The runner's %s failed: the disk is full%s." % (command, where),
            "Free some space and repeat.",
        )
    return RunnerError("os_error", "The runner's %s failed: %s%s." % (command, error.strerror, where))


def _fail(error: RunnerError, greets: bool) -> int:
    if greets:
        wire.emit(error.to_json())
    lines: List[str] = [error.message, error.hint]
    sys.stderr.write("\n".join(line for line in lines if line) + "\n")
    return error.exit_code
