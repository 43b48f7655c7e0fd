"""tmux, by exact names only, on one server, with Offload's own configuration.

`=name` matches a session exactly (`has-session`, `kill-session`, `attach-session`); a pane needs `=name:`
(tried with tmux 3.3a: `capture-pane -t =name` finds no pane).
"""

from __future__ import annotations

import argparse
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from jobs.remote.offload_runner.engine.environment import harmless
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import tmux_config, write_atomically
from jobs.remote.offload_runner.screen.tmux_server import recover_socket, server_options

_DEADLINE = 15.0

CONFIG = """\
# Written by Offload; changes are lost. Sessions: offload-<repository>-<target>-<action>.
# Programs in panes get a UTF-8 locale, even where the server was started without one (plain ssh).
%if "#{?#{m/ri:utf-?8,#{?LC_ALL,#{LC_ALL},#{?LC_CTYPE,#{LC_CTYPE},#{LANG}}}},,1}"
set-environment -gr LC_ALL
set-environment -g  LC_CTYPE C.UTF-8
%endif
set -g  default-terminal "tmux-256color"
set -as terminal-features ",*:RGB:clipboard:hyperlinks:title:focus"
set -as terminal-overrides ",*:Tc"
set -g  mouse on
set -s  set-clipboard on
set -g  focus-events on
set -gq allow-passthrough on
set -g  history-limit 50000
set -s  escape-time 10
set -g  remain-on-exit on
set -g  window-size latest
set -g  set-titles on
set -g  set-titles-string "#S"
set -g  status-interval 5
set -g  status-left-length 60
set -g  status-right-length 40
set -g  status-style "fg=colour250,bg=colour236"
set -g  status-left " #[bold]#S#[nobold] "
set -g  status-right " %H:%M "
set -g  window-status-format " #I:#W "
set -g  window-status-current-format "#[fg=colour255] #I:#W "
"""


@dataclass(frozen=True)
class Session:
    """One session as tmux lists it. `dead`: no program runs in any of its panes."""

    name: str
    dead: bool
    clients: int


@dataclass(frozen=True)
class Screen:
    """What a session's pane shows now, with its colours. `dead`: its program has ended."""

    text: str
    columns: int
    rows: int
    dead: bool


class Tmux:
    """One tmux server."""

    def __init__(self, root: Path, program: str, socket: str) -> None:
        self.root = root
        self.config = tmux_config(root)
        self._server = server_options(str(root), socket)
        self._argv = [program, "-u", *self._server, "-f", str(self.config)]
        self.program = program

    def write_config(self) -> None:
        """Write the configuration when it is not the present one."""
        try:
            if self.config.read_text() == CONFIG:
                return
        except FileNotFoundError:
            self.config.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.config, CONFIG)

    def call(self, *args: str, env: Optional[Mapping[str, str]] = None) -> "subprocess.CompletedProcess[str]":
        """Run one tmux command to its end. Raises `RunnerError` when there is no tmux or no answer."""
        recover_socket(self.config, self._server)
        try:
            return subprocess.run(
                [*self._argv, *args],
                capture_output=True,
                text=True,
                errors="replace",
                env=dict(harmless(os.environ) if env is None else env),
                stdin=subprocess.DEVNULL,
                timeout=_DEADLINE,
                check=False,
            )
        except FileNotFoundError:
            raise RunnerError(
                "no_tmux",
                "There is no program called %s on this machine." % self.program,
                "Install tmux on the worker, with its package manager.",
            ) from None
        except subprocess.TimeoutExpired:
            raise RunnerError(
                "tmux_stuck",
                "tmux %s did not answer within %d seconds." % (args[0], _DEADLINE),
                "Look at the tmux server on the worker.",
            ) from None

    def sessions(self) -> Dict[str, Session]:
        """Return every session of the server, by name, in one call."""
        done = self.call("list-panes", "-a", "-F", "#{session_attached} #{pane_dead} #{session_name}")
        found: Dict[str, Session] = {}
        for line in done.stdout.splitlines() if done.returncode == 0 else ():
            attached, dead, name = line.split(" ", 2)
            before = found.get(name)
            found[name] = Session(name, dead == "1" and (before is None or before.dead), int(attached or 0))
        return found

    def new_session(
        self, name: str, cwd: str, env: Mapping[str, str], argv: Sequence[str], pipe: str = ""
    ) -> bool:
        """Create a session; False when there is one of that name already (tmux decides, atomically).

        `pipe` is a shell command that gets all the pane's output; it is there before the first byte.
        """
        words = [
            "new-session",
            "-d",
            "-x",
            "200",
            "-y",
            "50",
            "-s",
            name,
            "-c",
            _literal(cwd),
            *_given(env),
            "--",
            *argv,
        ]
        done = self.call(*words, *_piped("=%s:^" % name, pipe))
        if done.returncode == 0:
            return True
        if "duplicate session" in done.stderr:
            return False
        raise _failed("Creating the tmux session %s" % name, done)

    def respawn(
        self, name: str, cwd: str, env: Mapping[str, str], argv: Sequence[str], pipe: str = ""
    ) -> None:
        """Run a program in the dead first pane of a session."""
        target = "=%s:^" % name
        words = ["respawn-pane", "-t", target, "-c", _literal(cwd), *_given(env), "--", *argv]
        done = self.call(*words, *_piped(target, pipe))
        if done.returncode != 0:
            raise _failed("Starting again in the tmux session %s" % name, done)

    def new_window(
        self, name: str, cwd: str, env: Mapping[str, str], argv: Sequence[str], pipe: str = ""
    ) -> None:
        """Run a program in a further window of a session."""
        words = ["new-window", "-t", "=%s:" % name, "-c", _literal(cwd), *_given(env), "--", *argv]
        done = self.call(*words, *_piped("=%s:" % name, pipe))
        if done.returncode != 0:
            raise _failed("Opening a window in the tmux session %s" % name, done)

    def has(self, name: str) -> bool:
        """Tell whether there is a session of exactly this name."""
        return self.call("has-session", "-t", "=" + name).returncode == 0

    def kill(self, name: str) -> bool:
        """Kill a session; return whether it is gone."""
        self.call("kill-session", "-t", "=" + name)
        return not self.has(name)

    def pane_size(self, name: str) -> Optional[Tuple[int, int]]:
        """Return columns and rows of a session's current pane; None when it is gone."""
        done = self.call("display-message", "-p", "-t", "=%s:" % name, "#{pane_width} #{pane_height}")
        words = done.stdout.split()
        if done.returncode != 0 or len(words) != 2:
            return None
        return int(words[0]), int(words[1])

    def pane_terminal(self, name: str) -> str:
        """Return the device of a session's current pane; "" when it is gone."""
        done = self.call("display-message", "-p", "-t", "=%s:" % name, "#{pane_tty}")
        return done.stdout.strip() if done.returncode == 0 else ""

    def capture(self, name: str, lines: int) -> Optional[str]:
        """Return the text of a session's pane with `lines` lines of history; None when it is gone."""
        done = self.call("capture-pane", "-p", "-S", "-%d" % lines, "-t", "=%s:" % name)
        return done.stdout if done.returncode == 0 else None

    def screens(self, names: Sequence[str]) -> Dict[str, Screen]:
        """Return what the current panes of sessions show, with two calls for all; those that exist."""
        facts = "#{window_active}#{pane_active} #{pane_dead} #{pane_width} #{pane_height} #{session_name}"
        done = self.call("list-panes", "-a", "-F", facts)
        found: Dict[str, Tuple[str, str, str]] = {}
        for line in done.stdout.splitlines() if done.returncode == 0 else ():
            current, dead, columns, rows, name = line.split(" ", 4)
            if current == "11" and name in names:
                found[name] = (dead, columns, rows)
        # What a pane shows cannot contain a mark that did not exist when it was drawn.
        mark = os.urandom(16).hex()
        words: List[str] = []
        for name in found:
            target = "=%s:" % name
            words += ["display-message", "-p", "-t", target, mark, ";"]
            words += ["capture-pane", "-p", "-e", "-t", target, ";"]
        # A session that ended meanwhile ends the call: those after it are shown at the next look.
        texts = self.call(*words[:-1]).stdout.split(mark + "\n")[1:] if words else []
        return {
            name: Screen(texts[place], int(columns), int(rows), dead == "1")
            for place, (name, (dead, columns, rows)) in enumerate(found.items())
            if place < len(texts)
        }


def _literal(text: str) -> str:
    """Return a text that tmux, which expands formats in it, reads as it is."""
    return text.replace("#", "##")


def _piped(target: str, command: str) -> List[str]:
    return [";", "pipe-pane", "-O", "-t", target, _literal(command)] if command else []


def _given(env: Mapping[str, str]) -> List[str]:
    # tmux clears nothing: a session inherits what the server was started with, so PATH is given each time.
    words: List[str] = []
    for name, value in env.items():
        words += ["-e", "%s=%s" % (name, value)]
    return words


def _failed(doing: str, done: "subprocess.CompletedProcess[str]") -> RunnerError:
    return RunnerError(
        "tmux_failed",
        "%s failed: %s." % (doing, done.stderr.strip() or "tmux exited with %d" % done.returncode),
        "Look at the tmux server on the worker.",
    )


def from_options(options: argparse.Namespace) -> Tmux:
    """Return the server that the command line names."""
    return Tmux(options.root, options.tmux, options.tmux_socket)
