"""Commands of the runner that a supervisor runs in a fork of itself.

A new Python would import again what the supervisor has already: most of the time of a short step. Only on
Linux, where a process can be told to end with the one above it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import signal
import sys
import tempfile
import traceback
import zipimport
from typing import Callable, List, Optional, Sequence

from jobs.remote.offload_runner.engine.containers import PYTHON
from jobs.remote.offload_runner.protocol import ISOLATED
from jobs.remote.offload_runner.wire import runner_path

_PACKAGE = "jobs.remote.offload_runner"
_COMMANDS = ("step", "reset")


def find(argv: Sequence[str]) -> Optional[Callable[[], int]]:
    """Return what a fork calls in place of executing `argv`; None unless that is a command of this runner.

    What the command needs is imported here, so that it is there for the next command too.
    """
    if sys.platform != "linux" or not isinstance(globals().get("__loader__"), zipimport.zipimporter):
        return None
    begin = [*ISOLATED, runner_path(), "--root"]
    words = list(argv[len(begin) :])
    if argv[0] not in (sys.executable, PYTHON) or list(argv[1 : len(begin) + 1]) != begin:
        return None
    if len(words) < 3 or words[2] not in _COMMANDS:
        return None
    needed = ["commands." + words[2], *("steps." + name for name in words[3:4] if words[2] == "step")]
    with contextlib.suppress(ImportError):  # an unknown step: the command says so
        for module in needed:
            importlib.import_module("%s.%s" % (_PACKAGE, module))
    return lambda: _run(words)


def _run(words: List[str]) -> int:
    """Run the command as a new process would; return its exit code."""
    gc.freeze()  # nothing that the supervisor had open is closed here: its descriptors have other uses now
    tempfile.tempdir = None
    sys.argv[1:] = words
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    try:
        code = int(importlib.import_module(_PACKAGE + ".cli").main(words))
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    with contextlib.suppress(OSError, ValueError):  # the reader has gone
        sys.stdout.flush()
        sys.stderr.flush()
    return code
