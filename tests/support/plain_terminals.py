"""The terminal's WebSocket in front of plain commands: the product's bridge and server, without jobs.

For byte exactness and for benchmarks. Job *n* of the address is the n-th command line, opened over the
transport that was asked for. Run as a module it is the server process.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.websocket import WebSocket

PROJECT = Path(__file__).resolve().parents[2]


class PlainTerminals:
    """`with PlainTerminals([argv, ...]) as server:` serves one terminal per command line.

    `endpoint`: fields of an `SshEndpoint`, or None for this machine.
    """

    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        *,
        endpoint: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        uvloop: bool = True,
    ) -> None:
        self.commands = [list(argv) for argv in commands]
        self.endpoint = endpoint
        self.uvloop = uvloop
        self._home = tempfile.TemporaryDirectory(prefix="offload-plain-", ignore_cleanup_errors=True)
        self.env = {
            **os.environ,
            "OFFLOAD_HOME": self._home.name,
            "DJANGO_SETTINGS_MODULE": "offload_web.settings",
            "PYTHONPATH": str(PROJECT),
            **(env or {}),
        }
        self.log = Path(self._home.name) / "server.log"

    def __enter__(self) -> Self:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = int(self.listener.getsockname()[1])
        ready_read, ready_write = os.pipe()
        spec = {"commands": self.commands, "endpoint": self.endpoint, "uvloop": self.uvloop}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.plain_terminals", "--fd", str(self.listener.fileno()),
                 "--ready-fd", str(ready_write), json.dumps(spec, default=str)],
                pass_fds=(self.listener.fileno(), ready_write), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=self.env, cwd=PROJECT,
            )  # fmt: skip
        os.close(ready_write)
        said = os.read(ready_read, 16)
        os.close(ready_read)
        assert said, self.log.read_text()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.listener.close()
        self._home.cleanup()

    async def connect(self, job: int, **query: object) -> WebSocket:
        """Open the terminal of the n-th command."""
        fields = "&".join(f"{key}={value}" for key, value in {"cols": 80, "rows": 24, **query}.items())
        return await WebSocket.connect(self.port, f"/ws/terminals/{job}/session/?{fields}")

    def memory(self) -> int:
        """Return the server's resident memory in bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def cpu(self) -> float:
        """Return the seconds of processor time that the server has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> int:
        """Return how many descriptors the server holds."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def _serve(fd: int, ready_fd: int, spec: Mapping[str, Any]) -> None:
    if spec["uvloop"]:
        import uvloop

        uvloop.install()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "offload_web.settings")
    import django

    django.setup()
    from channels.routing import URLRouter
    from channels.sessions import SessionMiddlewareStack
    from django.core.management import call_command
    from django.urls import re_path

    from jobs import workers
    from jobs.transport import pool
    from jobs.transport.base import Pty, PtyReceiver, Size
    from jobs.transport.endpoint import LocalEndpoint, SshEndpoint
    from jobs.workers import SessionInfo, TerminalRequest
    from offload_web import eager
    from offload_web.login import local_user
    from terminals.consumers import TerminalApp
    from terminals.live import Registry

    call_command("migrate", verbosity=0, interactive=False)
    user = local_user()
    given: dict[str, Any] = {  # JSON makes lists of tuples
        key: tuple(value) if isinstance(value, list) else value
        for key, value in (spec["endpoint"] or {}).items()
    }
    endpoint = (
        SshEndpoint(**{**given, "known_hosts": Path(given["known_hosts"]), "key": Path(given["key"])})
        if given
        else LocalEndpoint()
    )

    # This process serves plain commands instead of jobs: same bridge, no tmux.
    async def open_terminal(
        request: TerminalRequest, receiver: PtyReceiver, size: Size, *, exists: bool | None = None
    ) -> Pty:
        async with pool.borrow(endpoint) as transport:
            return await transport.open_pty(
                spec["commands"][request.job_id], receiver, size=size, term=request.term
            )

    async def read_session(job_id: int, kind: workers.Kind = "session", *, lines: int = 0) -> SessionInfo:
        return SessionInfo("", Size(80, 24), "", alternate=False, dead=False, viewers=())

    async def nothing(*args: object, **data: object) -> Any:
        return []

    workers.open_terminal = open_terminal
    workers.read_session = read_session
    workers.note_terminal = workers.request_attention = workers.ending = nothing

    eager.install()
    terminal = TerminalApp(Registry())

    async def logged_in(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await terminal({**scope, "user": user}, receive, send)

    route: Any = re_path(r"^ws/terminals/(?P<job_id>\d+)/(?P<kind>session|shell)/$", logged_in)  # type: ignore[arg-type]
    application = SessionMiddlewareStack(URLRouter([route]))
    eager.EagerServer(
        application=application,
        endpoints=[f"fd:fileno={fd}"],
        action_logger=None,
        verbosity=0,
        websocket_timeout=-1,
        ready_callable=lambda: os.write(ready_fd, b"ready\n"),
    ).run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int)
    parser.add_argument("--ready-fd", type=int)
    parser.add_argument("spec", type=json.loads)
    options = parser.parse_args()
    _serve(options.fd, options.ready_fd, options.spec)
