"""A run in a terminal: the live table, the keys, and the programs that borrow the terminal."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING, Any, List, Optional, Tuple

from jobs.remote.offload_runner.files.paths import read_json
from jobs.remote.offload_runner.protocol import FAILED, RUNNING
from jobs.remote.offload_runner.screen import table
from jobs.remote.offload_runner.screen.lines import Display
from jobs.remote.offload_runner.wire import runner_argv

if TYPE_CHECKING:
    from jobs.remote.offload_runner.engine.agent_screen import AgentScreen
    from jobs.remote.offload_runner.engine.execute import Engine
    from jobs.remote.offload_runner.engine.signals import Signals

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
# What a program that was killed may have left on: other screen, mouse, focus, paste, key modes, no cursor.
_RESET = "\x1b[?1049l\x1b[?1000;1002;1003;1004;1006;2004;2026l\x1b[<u\x1b[>4m\x1b[?25h\x1b[0m\x1b[!p"
_DRAW_SECONDS = 0.1
_NOTE_SECONDS = 6.0
_STDIN, _STDOUT = 0, 1
_SUMMARY_COLUMNS = 78
_UP = ("\x1b[A", "\x1bOA", "k")
_DOWN = ("\x1b[B", "\x1bOB", "j")


class Pane(Display):
    """Owns the terminal while a run is shown."""

    def __init__(self) -> None:
        super().__init__()
        self._cooked = termios.tcgetattr(_STDIN)
        self._style = table.Style(colour=not os.environ.get("NO_COLOR"))
        self._selected = 0
        self._size = (0, 0)
        self._chosen = False
        self._shown_frame: List[str] = []
        self._dirty = True
        self._next_draw = 0.0
        self._note, self._note_until = "", 0.0
        self._live = False
        self._ended = False
        self._child: Optional["subprocess.Popen[bytes]"] = None
        self._selector: Optional[selectors.BaseSelector] = None
        self._sha = ""
        self._screen: Optional["AgentScreen"] = None

    @property
    def has_child(self) -> bool:
        """Whether a shell or a pager has the terminal now."""
        return self._child is not None

    def open(self, engine: "Engine") -> None:
        """Take the terminal."""
        super().open(engine)
        self._sha = str((read_json(engine.paths.prepared) or {}).get("sha") or "")
        self._raw()
        if engine.views:
            self._live = True
            self._write(_ENTER)

    def close(self) -> None:
        """Give the terminal back as it was. Idempotent."""
        if self._screen is not None:
            self._screen = None
            self._write(_RESET)
        if self._live:
            self._live = False
            self._write(_LEAVE)
        self._set(self._cooked)

    def watch(self, selector: selectors.BaseSelector) -> None:
        """Listen to keys. With nothing to show, what is typed waits for the shell that comes."""
        self._selector = selector
        if self._child is None and (self.engine.views or self._ended):
            selector.register(_STDIN, selectors.EVENT_READ, self._read_keys)

    def _unwatch(self) -> None:
        if self._selector is not None and _STDIN in self._selector.get_map():
            self._selector.unregister(_STDIN)

    # Drawing

    def changed(self) -> None:
        """Draw at the next occasion."""
        self._dirty = True

    def draw(self) -> None:
        """Draw the live table if something changed or moved on."""
        if self._child is not None:
            self._mind_child()
            return
        if self.engine.screen is not self._screen:
            self._change_screen()
        if self._screen is not None:
            self._fit_screen()
            return
        clock = time.monotonic()
        if not self._live or clock < self._next_draw:
            return
        self._next_draw = clock + _DRAW_SECONDS
        width, height = self._room()
        if (width, height) != self._size:
            self._size, self._dirty = (width, height), True
            self._write("\x1b[2J")
        rows = self._rows()
        self._follow_the_work(rows)
        if clock > self._note_until:
            self._note = ""
        engine = self.engine
        lines = table.frame(
            self._heading(time.monotonic() - engine.began, width),
            rows,
            table.footer(rows, self._note, width, self._style),
            width,
            height,
            self._selected,
            self._style,
        )
        if lines != self._shown_frame or self._dirty:
            self._shown_frame, self._dirty = lines, False
            self._write("\x1b[H" + "\r\n".join("\x1b[K" + line for line in lines))

    def _heading(self, elapsed: Optional[float], width: int) -> str:
        paths, job = self.engine.paths, self.engine.plan.job
        return table.heading(job, paths.session, self._sha, elapsed, width, self._style)

    def _rows(self) -> List[table.Row]:
        rows = []
        for name, view in self.engine.views.items():
            running = self.engine.running.get(name)
            if running is not None:
                rows.append(table.Row(view.task.name, view.state, running.seconds, running.log.last_line()))
            else:
                said = table.said_of(view.state, view.reason, view.tail, view.exit_code)
                rows.append(table.Row(view.task.name, view.state, view.seconds, said))
        return rows

    def _follow_the_work(self, rows: List[table.Row]) -> None:
        """Until the user selects one, the first task at work is the selected one."""
        if not self._chosen:
            at_work = [index for index, row in enumerate(rows) if row.state == RUNNING]
            self._selected = at_work[0] if at_work else self._selected

    def _say(self, text: str) -> None:
        self._note, self._note_until, self._dirty = text, time.monotonic() + _NOTE_SECONDS, True
        if self._ended:
            self._prompt()

    # The end

    def stay(self, signals: "Signals") -> int:
        """Leave the summary on the screen, and take keys until the session is killed."""
        engine = self.engine
        finished = engine.finished
        while self._child is not None and not self._ending(signals):
            self._mind_child()
            time.sleep(0.05)
        if self._screen is not None:
            self._change_screen()
        if self._live:
            self._live = False
            self._write(_LEAVE)
        self._ended = True
        if finished is None:
            return 1
        self._print_summary()
        self._choose_failed()
        with selectors.DefaultSelector() as selector:
            selector.register(signals.reader, selectors.EVENT_READ, signals.drain)
            self.watch(selector)
            if not engine.views:
                self._shell()
            else:
                self._prompt()
            while not self._ending(signals):
                for key, _ in selector.select(0.2 if self._child is not None else None):
                    key.data()
                self._mind_child()
        return 0 if finished.get("state") == "succeeded" else 1

    def _ending(self, signals: "Signals") -> bool:
        heard = signals.take()
        return signal.SIGHUP in heard or signal.SIGTERM in heard

    def _print_summary(self) -> None:
        width, _ = self._room()
        tails = {v.task.name: v.tail for v in self.engine.views.values() if v.state == FAILED and v.tail}
        views = self.engine.views.values()
        seconds = sum(view.seconds or 0.0 for view in views) if views else None
        # The summary stays while viewers of other widths come: its heading is not set against the edge.
        lines = [self._heading(seconds, min(width, _SUMMARY_COLUMNS)), ""]
        lines += table.summary(self._rows(), tails, self.engine.finished, width, self._style)
        self._write("\r\n".join(lines) + "\r\n\r\n")

    def _choose_failed(self) -> None:
        states = [view.state for view in self.engine.views.values()]
        if not self._chosen:
            self._selected = states.index(FAILED) if FAILED in states else 0

    def _prompt(self) -> None:
        width, _ = self._room()
        names = [view.task.name for view in self.engine.views.values()]
        chosen = "%d %s: l log   ↑↓ another   " % (self._selected + 1, names[self._selected]) if names else ""
        text = self._note or chosen + "q shell"
        self._note = ""
        self._write("\r\x1b[K" + self._style.paint(table.fit(" " + text, width - 1).rstrip(), "2"))

    # Keys

    def _read_keys(self) -> None:
        try:
            data = os.read(_STDIN, 1024)
        except OSError:
            data = b""
        if not data:
            # The terminal is gone; SIGHUP is on its way.
            self._unwatch()
            return
        for key in _split_keys(data.decode(errors="replace")):
            self._key(key)
            if self._child is not None:
                break

    def _key(self, key: str) -> None:
        count = len(self.engine.views)
        if key == "q":
            self._shell()
        elif not count:
            return
        elif key in _UP or key in _DOWN:
            self._select((self._selected + (1 if key in _DOWN else -1)) % count)
        elif key.isdigit() and 1 <= int(key) <= count:
            self._select(int(key) - 1)
        elif key in ("l", "\r", "\n"):
            self._log()
        elif key == "\x03":
            if self._ended:
                self._say("Nothing runs any more. q opens a shell here.")
            else:
                self._say("Ctrl-C does not end a job: `offload cancel` does. q opens a shell here.")

    def _select(self, index: int) -> None:
        self._selected, self._chosen, self._dirty = index, True, True
        if self._ended:
            self._prompt()

    # Programs that borrow the terminal

    def _shell(self) -> None:
        paths = self.engine.paths
        containers = self.engine.containers
        argv = [os.environ.get("SHELL") or "/bin/sh"]
        if containers is not None:
            words = ["--containers", containers.to_json(), "shell", "--session", paths.session]
            argv = [*runner_argv(paths.root), *words]
        more = "" if self._ended else "; the run goes on"
        hint = "\r\n A shell in the worktree. `exit` comes back%s.\r\n" % more
        cwd = paths.worktree if paths.worktree.is_dir() else paths.root
        self._lend(argv, str(cwd), hint, self._cooked)

    def _log(self) -> None:
        name = list(self.engine.views)[self._selected]
        path = self.engine.paths.log(name)
        if not path.exists():
            self._say("%s has said nothing yet." % self.engine.views[name].task.name)
            return
        running = name in self.engine.running
        # A pager that is stopped with Ctrl-Z has no shell to go back to.
        settings = [*self._cooked[:6], [*self._cooked[6]]]
        settings[6][termios.VSUSP] = b"\0"
        if shutil.which("less"):
            self._lend(["less", "-R", "+F" if running else "+G", str(path)], str(path.parent), "", settings)
        else:
            hint = "\r\n Ctrl-C leaves the log.\r\n"
            self._lend(["tail", "-n", "+1", "-f", str(path)], str(path.parent), hint, settings)

    def _lend(self, argv: List[str], cwd: str, hint: str, settings: List[object]) -> None:
        self._unwatch()
        if self._live:
            self._write(_LEAVE)
        self._write(hint)
        self._set(settings)
        try:
            self._child = subprocess.Popen(argv, cwd=cwd)
        except OSError as error:
            self._take_back()
            self._say("Starting %s failed: %s." % (argv[0], error.strerror))

    def _mind_child(self) -> None:
        if self._child is not None and self._child.poll() is not None:
            self._child = None
            self._take_back()

    def _take_back(self) -> None:
        self._raw()
        if self._live:
            self._write(_ENTER)
        elif self._ended:
            self._prompt()
        self._shown_frame, self._dirty = [], True
        if self._selector is not None:
            self.watch(self._selector)

    # An agent's own screen

    def _change_screen(self) -> None:
        """Give the terminal to the task that has it to itself now, or take it back."""
        self._unwatch()
        if self._screen is not None:
            self._write(_RESET)
        elif self._live:
            self._write(_LEAVE)
        self._screen = self.engine.screen
        if self._screen is None:
            self._take_back()
            return
        self._screen.task.show = self._show_screen
        self._size = (0, 0)
        settings = self._raw()
        settings[1] &= ~termios.OPOST
        self._set(settings)
        if self._selector is not None:
            self._selector.register(_STDIN, selectors.EVENT_READ, self._pass_keys)

    def _fit_screen(self) -> None:
        size = self._room()
        if size != self._size and self._screen is not None:
            self._size = size
            self._screen.task.resize(size[1], size[0])

    def _show_screen(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(_STDOUT, view) :]
        except OSError:
            pass  # the terminal is gone

    def _pass_keys(self) -> None:
        try:
            data = os.read(_STDIN, 65536)
        except OSError:
            data = b""
        if data and self._screen is not None:
            self._screen.task.press(data)
        elif not data:
            self._unwatch()

    # The terminal

    def _room(self) -> Tuple[int, int]:
        """Return the terminal's columns and rows; those of before when it is gone."""
        try:
            return os.get_terminal_size(_STDOUT)
        except OSError:
            # Hung up: the signal is on its way, and what runs must still be ended and noted.
            return self._size if self._size[0] else (80, 24)

    def _raw(self) -> List[Any]:
        settings: List[Any] = [*self._cooked[:6], [*self._cooked[6]]]
        settings[0] &= ~(termios.IXON | termios.ICRNL)
        settings[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
        settings[6][termios.VMIN], settings[6][termios.VTIME] = 1, 0
        self._set(settings)
        return settings

    def _set(self, settings: List[object]) -> None:
        # A shell that died may have left its own group in the foreground; taking the terminal back from
        # there must not stop us.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            os.tcsetpgrp(_STDIN, os.getpgrp())
            termios.tcsetattr(_STDIN, termios.TCSADRAIN, settings)  # type: ignore[arg-type]
        except (OSError, termios.error):
            # The terminal is gone.
            pass
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except (OSError, ValueError):
            # The terminal is gone; the journal says the same.
            pass


def _split_keys(text: str) -> List[str]:
    keys: List[str] = []
    while text:
        if text[0] == "\x1b" and len(text) >= 3 and text[1] in "[O":
            keys.append(text[:3])
            text = text[3:]
        else:
            keys.append(text[0])
            text = text[1:]
    return keys
