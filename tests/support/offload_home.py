"""An Offload of a test's own: home, worker root and tmux server, all gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.remote import bundle
from jobs.remote.layout import Layout, socket_for_root
from jobs.remote.offload_runner import compiled
from jobs.remote.offload_runner.screen.tmux_server import server_options

_COMPILED = Path(__file__).resolve().parents[1] / ".cache" / "compiled"


def processes_under(root: str) -> list[int]:
    """Return the processes whose command line or working directory is below `root`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
            cwd = os.readlink(entry / "cwd")
        except OSError:
            continue
        if root in command or cwd.startswith(root):
            found.append(int(entry.name))
    return found


def keep_compiled(root: Path) -> None:
    """Have the runner of a new root find its modules compiled by the runners of other tests.

    Otherwise the first start in each root compiles them, as the first start on a worker does.
    """
    kept = Path(compiled.directory(Layout(str(root)).runner(bundle.current().digest)))
    shared = _COMPILED / kept.name
    for old in _COMPILED.glob("*") if not shared.exists() else ():
        shutil.rmtree(old, ignore_errors=True)
    for folder in (shared, kept.parent):
        folder.mkdir(parents=True, exist_ok=True)
    kept.symlink_to(shared)


@contextmanager
def worker_root(path: Path, default_root: str) -> Iterator[Path]:
    """Give a worker root; afterwards its tmux server and what still runs below it are ended, by pid."""
    path.mkdir(parents=True, exist_ok=True)
    keep_compiled(path)
    try:
        yield path
    finally:
        socket = socket_for_root(str(path), default_root)
        tmux = ["tmux", *server_options(str(path), socket)]
        subprocess.run([*tmux, "kill-server"], capture_output=True, check=False)
        for pid in processes_under(str(path)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        shutil.rmtree(path, ignore_errors=True)
