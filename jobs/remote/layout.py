"""Names and paths on a worker, and the command lines that use them. Pure: nothing here does I/O."""

from __future__ import annotations

import hashlib
import posixpath
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.remote.offload_runner.protocol import ISOLATED
from jobs.remote.offload_runner.screen.tmux_server import server_options

DEFAULT_ROOT_NAME = ".offload"
SESSION_PREFIX = "offload"
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


def safe_part(text: str, *, limit: int = 40) -> str:
    """Return `text` as a part of a session name: letters, digits, `_`, `-`.

    tmux gives `.` and `:` a meaning of their own. A text that had to be changed gets a short digest, so
    that two different texts never share a name.
    """
    cleaned = _UNSAFE.sub("-", text).strip("-")[:limit].strip("-")
    if cleaned == text:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    return f"{cleaned}-{digest}" if cleaned else digest


def session_name(repository: str, target: str, action: str, name: str = "") -> str:
    """Return the session of a job: `offload-<repo>-<number>-<action>[-<name>]`."""
    parts = [SESSION_PREFIX, safe_part(repository), safe_part(target), action]
    if name:
        parts.append(safe_part(name))
    return "-".join(parts)


def side_session(session: str) -> str:
    """Return the tmux session of a job's side shell. No job's own session starts with `side-`."""
    return f"side-{session}"


@dataclass(frozen=True)
class Layout:
    """Where things are under one worker's root (an absolute POSIX path)."""

    root: str
    tmux_socket: str | None = "offload"  # None: tmux's default socket (a dedicated machine)
    python: str = "python3"
    tmux: str = "tmux"
    git: str = "git"

    def path(self, *parts: str) -> str:
        """Return a path below the root."""
        return posixpath.join(self.root, *parts)

    def runner(self, digest: str) -> str:
        """Return the path of the runner with this digest."""
        return self.path("bin", f"runner-{digest}.pyz")

    def job_dir(self, session: str) -> str:
        """Return the job's directory: plan, journal, logs."""
        return self.path("jobs", session)

    def worktree(self, session: str) -> str:
        """Return the job's worktree."""
        return self.path("worktrees", session)

    def task_log(self, session: str, task: str) -> str:
        """Return the log of a task."""
        return self.path("jobs", session, "tasks", f"{task}.log")

    @property
    def tmux_config(self) -> str:
        """Return the path of Offload's own tmux configuration."""
        return self.path("state", "tmux.conf")

    def tmux_argv(self, *args: str) -> list[str]:
        """Return a tmux command on Offload's server (`-f` counts only when the server starts)."""
        # -u: without it, tmux replaces every non-ASCII character where the locale is not UTF-8 (plain ssh).
        server = server_options(self.root, self.tmux_socket or "")
        return [self.tmux, "-u", *server, "-f", self.tmux_config, *args]

    def attach_argv(self, session: str, *, read_only: bool = False, ignore_size: bool = False) -> list[str]:
        """Return the command that attaches a terminal to exactly this session."""
        flags = [flag for flag, wanted in (("read-only", read_only), ("ignore-size", ignore_size)) if wanted]
        options = ["-f", ",".join(flags)] if flags else []
        return self.tmux_argv("attach-session", "-t", f"={session}", *options)

    def runner_argv(self, digest: str, *args: str) -> list[str]:
        """Return a command of the runner."""
        return [self.python, *ISOLATED, self.runner(digest), "--root", self.root, *args]


def socket_for_root(root: str, default_root: str) -> str:
    """Return the tmux socket name for a local root: `offload` for the usual one, else one of its own."""
    if root == default_root:
        return "offload"
    return f"offload-{hashlib.sha256(root.encode()).hexdigest()[:8]}"


def manual_attach(layout: Layout, session: str, ssh_host: str | None = None) -> str:
    """Return what a person types to attach without Offload."""
    server = server_options(layout.root, layout.tmux_socket or "")
    inner = shlex.join([layout.tmux, *server, "attach", "-t", f"={session}"])
    return f"ssh -t {ssh_host} {shlex.quote(inner)}" if ssh_host else inner


def shown(argv: Sequence[str]) -> str:
    """Return a command line as a person would type it (for display only, never to be run)."""
    return " ".join(arg if re.fullmatch(r"[\w@%+=:,./{}-]+", arg) else "'" + arg + "'" for arg in argv)
