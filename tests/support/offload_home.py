"""An Offload of a test's own: home, worker root and tmux server, all gone afterwards."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import django

import jobs.migrations
from jobs.remote import bundle
from jobs.remote.layout import Layout, socket_for_root
from jobs.remote.offload_runner import compiled
from jobs.remote.offload_runner.screen.tmux_server import server_options

_PROJECT = Path(__file__).resolve().parents[2]
_COMPILED = _PROJECT / "tests" / ".cache" / "compiled"
_DATABASES = _PROJECT / "tests" / ".cache" / "databases"


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


@cache
def _migrated() -> Path:
    """Return a database that all migrations have made; it is kept until one of them changes."""
    parts = [django.__version__.encode()]
    parts += [path.read_bytes() for path in sorted(Path(jobs.migrations.__path__[0]).glob("*.py"))]
    kept = _DATABASES / f"{hashlib.sha256(b''.join(parts)).hexdigest()[:16]}.sqlite3"
    if not kept.exists():
        _DATABASES.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_DATABASES) as home:
            env = {name: value for name, value in os.environ.items() if not name.startswith("OFFLOAD_")}
            env |= {"OFFLOAD_HOME": home, "DJANGO_SETTINGS_MODULE": "offload_web.settings"}
            migrate = [sys.executable, str(_PROJECT / "manage.py"), "migrate", "--verbosity", "0"]
            subprocess.run(migrate, env=env, check=True)
            for old in _DATABASES.glob("*.sqlite3"):
                old.unlink(missing_ok=True)
            os.replace(Path(home) / "offload.sqlite3", kept)
    return kept


def give_database(home: Path) -> None:
    """Make a home's database, as its first command would: all migrations take most of a second."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.copyfile(_migrated(), home / "offload.sqlite3")


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
