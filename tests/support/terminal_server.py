"""A real dashboard server with jobs whose tmux sessions are real, for tests of the browser terminal."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jobs.remote.layout import Layout, side_session, socket_for_root
from jobs.remote.offload_runner.screen.tmux import CONFIG
from tests.support.offload_home import give_database, processes_under
from tests.support.websocket import WebSocket

PROJECT = Path(__file__).resolve().parents[2]
_CHILD = "import sys; from offload_web.child import main; main(sys.argv[1:])"
_SEED = """
import json, os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "offload_web.settings")
import django; django.setup()
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore
from jobs.models import Job, Repository, Worker
from offload_web.login import BACKEND, local_user
spec = json.loads(sys.stdin.read())
worker = Worker.objects.create(name=spec["worker"], provider=spec["provider"], root=spec["root"],
                               config=spec["config"], state="ready")
repository = Repository.objects.create(slug="acme/shop", short="shop", url="/nowhere/shop", forge="plain")
ids = [Job.objects.create(repository=repository, worker=worker, session=session, target=f"#{n}", ref="x",
                          action="review", state="running",
                          worktree=f"{spec['root']}/worktrees/{session}").id
       for n, session in enumerate(spec["sessions"], 1)]
def cookie(user):
    store = SessionStore()
    store[SESSION_KEY] = str(user.pk)
    store[BACKEND_SESSION_KEY] = BACKEND
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.save()
    return store.session_key
guest, _ = get_user_model().objects.get_or_create(username="guest")
print(json.dumps({"jobs": ids, "name": settings.SESSION_COOKIE_NAME, "cookie": cookie(local_user()),
                  "guest": cookie(guest), "path": settings.DASHBOARD_PATH}))
"""


class TerminalServer:
    """`with TerminalServer(...) as server:` runs the web process; `restart` keeps the port.

    `worker` is a provider and its configuration; sessions run on this machine in every case, because an sshd
    on loopback is this machine too.
    """

    def __init__(
        self,
        *,
        sessions: int = 1,
        shell: str = "exec bash --noprofile --norc",
        provider: str = "local",
        config: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="offload-term-", ignore_cleanup_errors=True)
        self.directory = Path(self._directory.name)
        self.root = self.directory / "worker"
        self.home = self.directory / "home"
        self.sessions = [f"offload-shop-{n}-review" for n in range(1, sessions + 1)]
        places = [self.root / part / session for part in ("jobs", "worktrees") for session in self.sessions]
        for path in (self.root / "state", self.root / "tmux", self.home, *places):
            path.mkdir(parents=True)
        self.provider = provider
        self.shell = shell
        self.socket_name = socket_for_root(str(self.root), "")
        self.config = {**(config or {}), "tmux_socket": self.socket_name}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OFFLOAD_")}
        self.env = {
            **clean,
            "DJANGO_SETTINGS_MODULE": "offload_web.settings",  # pytest sets its own
            "OFFLOAD_HOME": str(self.home),
            "OFFLOAD_WORKER_ROOT": str(self.root),
            "PYTHONPATH": str(PROJECT),
            "PYTHONWARNINGS": "default",
            **(env or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.log = self.directory / "server.log"

    def tmux(self, *args: str) -> str:
        """Run a tmux command on this server's sessions; return what it says."""
        done = subprocess.run(
            Layout(str(self.root), self.socket_name).tmux_argv(*args),
            capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
            # Sessions get a home without start-up files: the tester's own may be slow, or eat what is typed.
            env={**self.env, "PS1": "$ ", "HOME": str(self.home)},
        )  # fmt: skip
        return done.stdout

    def __enter__(self) -> Self:
        (self.root / "state" / "tmux.conf").write_text(CONFIG)
        for session in self.sessions:
            self.new_session(session)
        give_database(self.home)
        spec = {
            "worker": "local" if self.provider == "local" else "far",
            "provider": self.provider,
            "root": str(self.root),
            "config": self.config,
            "sessions": self.sessions,
        }
        seeded = subprocess.run(
            [sys.executable, "-c", _SEED], input=json.dumps(spec), capture_output=True, text=True,
            env=self.env, cwd=PROJECT, check=False,
        )  # fmt: skip
        assert seeded.returncode == 0, seeded.stderr
        made = json.loads(seeded.stdout)
        self.jobs: list[int] = made["jobs"]
        self.cookie_name: str = made["name"]
        self.prefix: str = made["path"]
        self.cookies: dict[str, str] = {"local": made["cookie"], "guest": made["guest"]}
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self.listener.getsockname()[1])
        self.start()
        return self

    @property
    def worktree(self) -> Path:
        """Return the worktree of the first session."""
        return self.root / "worktrees" / self.sessions[0]

    def new_session(self, session: str) -> None:
        """Create a session with a plain shell in it."""
        place = str(self.root / "worktrees" / session)
        self.tmux("new-session", "-d", "-x", "120", "-y", "35", "-s", session, "-c", place, self.shell)

    def take_next_session(self) -> None:
        """Make the next session the first, in place of one that a test has used."""
        self.sessions.append(self.sessions.pop(0))
        self.jobs.append(self.jobs.pop(0))

    @property
    def url(self) -> str:
        """Return the server's address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    def start(self) -> None:
        """Start the web process and wait until it serves."""
        ready_read, ready_write = os.pipe()
        fd = self.listener.fileno()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _CHILD, "web", "--fd", str(fd), "--ready-fd", str(ready_write)],
                stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=(fd, ready_write),
                env=self.env, cwd=PROJECT,
            )  # fmt: skip
        os.close(ready_write)
        said = os.read(ready_read, 64)
        os.close(ready_read)
        assert said, self.log.read_text()

    def kill(self) -> None:
        """End the web process the hard way; its port stays ours."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process = None

    def restart(self) -> None:
        """Kill the web process and start it again on the same port."""
        self.kill()
        self.start()

    def headers(self, who: str | None = "local") -> dict[str, str]:
        """Return the cookie header of a user."""
        return {"Cookie": f"{self.cookie_name}={self.cookies[who]}"} if who else {}

    def path(self, job: int = 0, kind: str = "session", **query: object) -> str:
        """Return the WebSocket's path for the n-th job."""
        fields = "&".join(f"{key}={value}" for key, value in query.items())
        return f"{self.prefix}/ws/terminals/{self.jobs[job]}/{kind}/" + (f"?{fields}" if fields else "")

    async def connect(
        self, job: int = 0, kind: str = "session", *, who: str = "local", **query: object
    ) -> WebSocket:
        """Open a terminal's WebSocket."""
        return await WebSocket.connect(self.port, self.path(job, kind, **query), self.headers(who))

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            assert self.process.stdin is not None
            self.process.stdin.close()
        self.listener.close()
        subprocess.run(
            Layout(str(self.root), self.socket_name).tmux_argv("kill-server"),
            capture_output=True,
            check=False,
        )
        for pid in processes_under(str(self.directory)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._directory.cleanup()


def shell_session(session: str) -> str:
    """Return the tmux session behind a job's side shell."""
    return side_session(session)
