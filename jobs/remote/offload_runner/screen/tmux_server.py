"""Where Offload's tmux server listens, and how a lost socket is found again.

tmux puts its sockets below /tmp, where systemd-tmpfiles removes them after some days although the server
lives. Ours is in a directory below the worker's root that no container mounts: who can connect to the socket
can run commands as the worker's user.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import signal
import socket
import time
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple

_LONGEST_PATH = 100  # bytes: a socket's address holds 107, on macOS 103
_SECONDS = 2.0


def server_options(root: str, name: str) -> List[str]:
    """Return the tmux options that name our server; none for the user's default server.

    A root that is too long for a socket's address leaves the socket where tmux puts it.
    """
    if not name:
        return []
    path = posixpath.join(root, "tmux", name + ".sock")
    return ["-S", path] if len(path.encode()) <= _LONGEST_PATH else ["-L", name]


def recover_socket(config: Path, options: Sequence[str], proc: Path = Path("/proc")) -> None:
    """Make a living server of ours reachable if its socket is gone or replaced, or at its older place.

    A server creates its socket again on SIGUSR1. Without /proc (macOS) this does nothing.
    """
    wanted = _socket_path(options, os.environ.get("TMUX_TMPDIR"))
    if _answers(wanted):
        return
    with contextlib.suppress(OSError):
        wanted.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for pid, path in _servers(config, wanted.stem, proc):
        if not _answers(path):
            with contextlib.suppress(OSError):
                _make_way(path)
                os.kill(pid, signal.SIGUSR1)
            deadline = time.monotonic() + _SECONDS
            while not _answers(path) and time.monotonic() < deadline:
                time.sleep(0.01)
        if _answers(path):
            if path != wanted:
                with contextlib.suppress(OSError):
                    if os.path.lexists(str(wanted)):
                        wanted.unlink()
                    wanted.symlink_to(path)
            return


def _make_way(path: Path) -> None:
    """Let a server create its socket at `path`, where it replaces a file, and no directory, by itself."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    if path.is_dir() and not path.is_symlink():
        path.rename(path.with_name("%s.%d" % (path.name, time.time())))


def _socket_path(options: Sequence[str], tmpdir: Optional[str]) -> Path:
    if "-S" in options:
        return Path(options[options.index("-S") + 1])
    name = options[options.index("-L") + 1] if "-L" in options else "default"
    return Path(tmpdir or "/tmp") / ("tmux-%d" % os.getuid()) / name  # noqa: S108 - tmux's own place


def _servers(config: Path, name: str, proc: Path) -> Iterator[Tuple[int, Path]]:
    """Yield this user's living tmux servers with our configuration and socket name, with their sockets."""
    for entry in proc.iterdir() if proc.is_dir() else ():
        try:
            if not entry.name.isdigit() or entry.stat().st_uid != os.getuid():
                continue
            if not (entry / "comm").read_text().startswith("tmux: server"):
                continue
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            variables = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended meanwhile
            continue
        if "-f" in words and words[words.index("-f") + 1 :][:1] == [str(config)]:
            given = [one.partition("=")[2] for one in variables if one.startswith("TMUX_TMPDIR=")]
            path = _socket_path(words, given[0] if given else None)
            if path.stem == name:
                yield int(entry.name), path


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True
