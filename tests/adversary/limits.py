"""Run a function as the runner runs: with little processor time and memory, in a process of its own."""

from __future__ import annotations

import os
import pickle
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

MIB = 1024 * 1024


def bounded(function: Callable[..., Any], *args: Any, seconds: int = 10, memory: int = 512 * MIB) -> Any:
    """Return what `function` returns. A crash, too much time of the processor or memory fails the test."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        answer: tuple[bool, Any]
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            used = resource.getrusage(resource.RUSAGE_SELF)
            spent = int(used.ru_utime + used.ru_stime)
            resource.setrlimit(resource.RLIMIT_CPU, (spent + seconds, spent + seconds + 1))
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + memory, size + memory))
            signal.signal(signal.SIGXCPU, signal.SIG_DFL)
            answer = (True, function(*args))
        except BaseException as exc:
            answer = (False, repr(exc)[:2000])
        try:
            with os.fdopen(writer, "wb") as file:
                pickle.dump(answer, file)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        data = file.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFEXITED(status), f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
    fine, value = pickle.loads(data)
    assert fine, value
    return value
