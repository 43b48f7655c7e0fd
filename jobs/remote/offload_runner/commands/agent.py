"""`call-agent`: run an agent, as the job, with its stdout and stderr apart.

They are written to this process's stdout as they come: frames of the kind `OUTPUT`, numbered 1 and 2.
"""

from __future__ import annotations

import argparse
import os
import selectors
import subprocess
import threading
from pathlib import Path

from jobs.remote.offload_runner import wire
from jobs.remote.offload_runner.engine import frames
from jobs.remote.offload_runner.engine.task import EXIT_CANNOT_RUN, EXIT_NO_PROGRAM

STDOUT = 1
STDERR = 2
_READ_BYTES = 65536
# What the agent wrote last is still in its pipes; a process that it left behind may fill them for ever.
_DRAIN_READS = 64


def main(options: argparse.Namespace) -> int:
    """Run the agent in its own empty directory; return its exit code, 128 + N for signal N."""
    folder = Path(options.cwd)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        child = subprocess.Popen(
            options.words, cwd=str(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        return EXIT_NO_PROGRAM if isinstance(error, FileNotFoundError) else EXIT_CANNOT_RUN
    ended, tell = os.pipe()
    threading.Thread(target=_close_at_end, args=(child, tell), daemon=True).start()
    with selectors.DefaultSelector() as selector:
        for number, pipe in ((STDOUT, child.stdout), (STDERR, child.stderr)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe.fileno(), selectors.EVENT_READ, number)
        selector.register(ended, selectors.EVENT_READ, 0)
        while ended in selector.get_map():
            for key, _ in selector.select():
                if not key.data or not _pass_on(key.fd, key.data):
                    selector.unregister(key.fd)
        for key in list(selector.get_map().values()):
            for _ in range(_DRAIN_READS):
                if not _pass_on(key.fd, key.data):
                    break
    code = child.wait()
    return 128 - code if code < 0 else code


def _close_at_end(child: "subprocess.Popen[bytes]", descriptor: int) -> None:
    child.wait()
    os.close(descriptor)


def _pass_on(descriptor: int, number: int) -> bool:
    """Write what there is to read; return whether there was something."""
    try:
        data = os.read(descriptor, _READ_BYTES)
    except BlockingIOError:
        return False
    wire.emit_bytes(frames.pack(number, frames.OUTPUT, data) if data else b"")
    return bool(data)
