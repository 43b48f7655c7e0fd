"""`shell`: a shell in the job's worktree, where its tasks run; it ends with this process."""

from __future__ import annotations

import argparse
import os
import selectors
import signal
import sys
import termios
import tty
from typing import Dict, List, Optional, Tuple

from jobs.remote.offload_runner.engine import frames
from jobs.remote.offload_runner.engine.link import Sink, SupervisorProcess
from jobs.remote.offload_runner.engine.signals import Signals
from jobs.remote.offload_runner.files.paths import JobPaths, existing_job

_CONTAINER_SHELL = ["/bin/sh", "-c", 'exec "${SHELL:-/bin/sh}"']
_EXIT_LOST = 129


def main(options: argparse.Namespace) -> int:
    """Run a shell; return its exit code."""
    paths = existing_job(options.root, options.session)
    if options.containers is None:
        os.chdir(paths.worktree if paths.worktree.is_dir() else paths.root)
        shell = os.environ.get("SHELL") or "/bin/sh"
        os.execve(shell, [shell], {**os.environ, "HOME": str(paths.home)})  # noqa: S606 - the user's own
    argv = [*options.containers.supervisor(paths.root, paths.session), "--shell"]
    return _Relay(SupervisorProcess(argv), paths).run()


class _Relay(Sink):
    """Carries keys and output between this terminal and one in the container."""

    def __init__(self, link: SupervisorProcess, paths: JobPaths) -> None:
        self._link = link
        self._paths = paths
        self._code: Optional[int] = None
        self._is_over = False

    def run(self) -> int:
        """Return the shell's exit code."""
        signals = Signals()
        cooked = termios.tcgetattr(0)
        with selectors.DefaultSelector() as selector:
            self._link.watch(selector)
            selector.register(0, selectors.EVENT_READ, self._type)
            selector.register(signals.reader, selectors.EVENT_READ, signals.drain)
            env: Dict[str, str] = {"HOME": str(self._paths.home), "TMPDIR": str(self._paths.tmp)}
            env.update(TERM="tmux-256color", COLORTERM="truecolor", OFFLOAD_SESSION=self._paths.session)
            cwd = str(self._paths.worktree)
            self._number = self._link.start(self, _CONTAINER_SHELL, cwd, env, tty=_size())
            tty.setraw(0)
            try:
                while not self._is_over:
                    for key, _ in selector.select():
                        key.data()
                    for number in signals.take():
                        if number == signal.SIGWINCH:
                            self._link.send(frames.pack_json(self._number, frames.RESIZE, _size()))
                        elif number in (signal.SIGHUP, signal.SIGTERM):
                            self._is_over = True
            finally:
                try:
                    termios.tcsetattr(0, termios.TCSADRAIN, cooked)
                except termios.error:
                    pass  # the terminal is gone
                self._link.close()
        return _EXIT_LOST if self._code is None else self._code

    def _type(self) -> None:
        try:
            data = os.read(0, 65536)
        except OSError:
            data = b""
        if data:
            self._link.send(frames.pack(self._number, frames.INPUT, data))
        else:
            self._is_over = True

    def on_output(self, data: bytes) -> None:
        """Show it."""
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]

    def on_failed(self, number: int, error: str) -> None:
        """Say why."""
        sys.stderr.write("Starting a shell failed: %s.\r\n" % error)
        self._is_over = True

    def on_exit(self, code: Optional[int], survivors: List[int]) -> None:
        """Keep the exit code."""
        self._code = code
        self._is_over = True

    def on_lost(self) -> None:
        """Say that the container is gone."""
        if not self._is_over:
            sys.stderr.write("\r\nThe line to the container was lost. %s\r\n" % self._link.complaint)
        self._is_over = True


def _size() -> Tuple[int, int]:
    try:
        columns, rows = os.get_terminal_size(0)
    except OSError:
        columns, rows = 80, 24
    return rows, columns
