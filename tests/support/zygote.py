"""Command lines as real processes that cost no start: children of one process that has everything imported.

`python -m tests.support.zygote` reads requests as lines of JSON: `argv`; `env` and `cwd` (null: as the
process's own); `die_at_write` (0: never): the child kills itself, by SIGKILL, before that many-th statement
that changes the database; `hurried`: it hardly pauses between its looks at what it waits for. The answer is
`pid`, and when the child has ended `status` (as `subprocess` has it), `out` and `err`.

A child with an environment of its own reads the settings again, by `manage.py`'s own `main`: of what Offload
imports nothing else depends on the environment. What Python itself reads at its start does (`needs_a_start`).
"""

from __future__ import annotations

import atexit
import faulthandler
import gc
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120.0
RUN_SECONDS = 60.0
# What the interpreter, the loader and the C library read before there is a program.
_FOR_THE_START = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC_", "TZ")
_FOR_LATER = "PYTHON_KEYRING_BACKEND"  # for keyring, which is imported when a secret is first needed


@dataclass(frozen=True)
class Ended:
    """How a command line ended."""

    status: int
    out: str
    err: str


class Zygote:
    """The process that is forked, seen from the test."""

    def __init__(self, process: subprocess.Popen[str], *, hurried: bool) -> None:
        self._process = process
        self._hurried = hurried

    def start(
        self, *argv: str, die_at_write: int = 0, env: Mapping[str, str] | None = None, cwd: str | None = None
    ) -> int:
        """Start a command line; return its process id."""
        assert self._process.stdin is not None
        request: dict[str, Any] = {"argv": argv, "env": env and dict(env), "cwd": cwd}
        request |= {"die_at_write": die_at_write, "hurried": self._hurried}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._answer(START_SECONDS)["pid"])

    def has_ended(self) -> bool:
        """Tell whether the command line that was started last has ended, and was not waited for yet."""
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def wait(self) -> Ended:
        """Wait for the end of the command line that was started last, and of what holds its output open."""
        found = self._answer(RUN_SECONDS)
        return Ended(found["status"], found["out"], found["err"])

    def run(self, *argv: str, code: int = 0, env: Mapping[str, str] | None = None) -> Ended:
        """Run a command line and check its exit code."""
        self.start(*argv, env=env)
        ended = self.wait()
        assert ended.status == code, f"{argv} ended with {ended.status}\n{ended.out}\n{ended.err}"
        return ended

    def _answer(self, seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready = select.select([self._process.stdout], [], [], seconds)[0]
        assert ready, f"nothing came within {seconds:g} s"
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


@contextmanager
def zygote(env: Mapping[str, str], *, hurried: bool = True) -> Iterator[Zygote]:
    """Start one for the length of a block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.zygote"],
        env=dict(env), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    try:
        yield Zygote(process, hurried=hurried)
    finally:
        process.kill()
        process.communicate()


def needs_a_start(env: Mapping[str, str]) -> bool:
    """Tell whether a process with this environment would start otherwise than this one did."""
    return any(
        env.get(name) != os.environ.get(name)
        for name in {*env, *os.environ}
        if name.startswith(_FOR_THE_START) and name != _FOR_LATER
    )


class Shared:
    """The one zygote of a process of tests, begun when it is first needed."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._zygote: Zygote | None = None

    def run(self, argv: tuple[str, ...], *, env: Mapping[str, str], cwd: str) -> Ended | None:
        """Run a command line; None: not now, as another thread has one running."""
        if not self._one_at_a_time.acquire(blocking=False):
            return None
        try:
            if self._zygote is None:
                self._zygote = self._begin()
            pid = self._zygote.start(*argv, env=env, cwd=cwd)
            try:
                return self._zygote.wait()
            except BaseException:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                self._zygote = None  # its next answer would be this command's
                raise
        finally:
            self._one_at_a_time.release()

    @staticmethod
    def _begin() -> Zygote:
        home = tempfile.TemporaryDirectory(prefix="offload-zygote-")
        atexit.register(home.cleanup)
        block = zygote({**os.environ, "OFFLOAD_HOME": home.name, **_PRODUCT}, hurried=False)
        begun = block.__enter__()
        atexit.register(block.__exit__, None, None, None)
        return begun


_PRODUCT = {"DJANGO_SETTINGS_MODULE": "offload_web.settings"}
SHARED = Shared()


def _serve() -> None:
    import django

    django.setup()
    # What the commands would import, so that no child has to; nothing is connected to before the fork.
    import asyncssh  # noqa: F401

    import jobs.cli.main  # noqa: F401
    import manage  # noqa: F401
    from jobs.cli.fleet import add, delete, image, ls, panic, price, provision, ssh_config, sweep  # noqa: F401
    from jobs.cli.offload import doctor, launch, setup, setup_gcp, status  # noqa: F401
    from jobs.transport import ssh  # noqa: F401

    gc.collect()
    gc.freeze()  # a collection in a child would copy all of it
    for line in sys.stdin:
        request = json.loads(line)
        _import_the_cloud(request)
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(out)
            os.close(err)
            _be_the_command(request, out_end, err_end)
        for end in (out_end, err_end):
            os.close(end)
        _say({"pid": pid})
        _say(_follow(pid, out, err))


def _import_the_cloud(request: Mapping[str, Any]) -> None:
    """Import Google's client as soon as one will want it: that takes longer than all the rest."""
    wanted = "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE" in (request["env"] or {}) or request["hurried"]
    if not wanted or "google.cloud.compute_v1" in sys.modules:
        return
    from jobs.providers.gce import cloud  # noqa: F401
    from jobs.providers.gce.compute import api, retry  # noqa: F401

    api.load_library()
    gc.collect()
    gc.freeze()


def _follow(pid: int, out: int, err: int) -> dict[str, Any]:
    """Read what a child writes until no process holds its pipes, or it was killed; say how it ended."""
    texts = {out: bytearray(), err: bytearray()}
    open_ = set(texts)
    status: int | None = None
    end = time.monotonic() + RUN_SECONDS - 3
    while open_ and (status is None or status >= 0):
        if time.monotonic() > end:
            held = "; ".join(_holders(open_)) or "no process"
            texts[err] += f"\n{RUN_SECONDS - 3:g} s are over: status {status}, held open by {held}".encode()
            if status is None:
                os.kill(pid, signal.SIGKILL)
            break
        ready = select.select(list(open_), [], [], 0.1)[0]
        for pipe in ready:
            data = os.read(pipe, 65536)
            texts[pipe] += data
            if not data:
                open_.discard(pipe)
        if not ready and status is None:
            ended, found = os.waitpid(pid, os.WNOHANG)
            status = os.waitstatus_to_exitcode(found) if ended else None
    if status is None:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    for pipe in texts:
        os.close(pipe)
    return {"status": status, "out": texts[out].decode(), "err": texts[err].decode()}


def _holders(pipes: set[int]) -> list[str]:
    """Return the processes that hold the other ends of pipes open."""
    wanted = {f"pipe:[{os.fstat(pipe).st_ino}]" for pipe in pipes}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(process.name) != os.getpid() and wanted & {
                os.readlink(fd) for fd in (process / "fd").iterdir()
            }:
                words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append(f"{process.name} {words[:300]}")
    return found


def _say(what: Mapping[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def _be_the_command(request: Mapping[str, Any], out: int, err: int) -> NoReturn:
    with open(os.devnull) as nothing:
        for source, target in ((nothing.fileno(), 0), (out, 1), (err, 2)):
            os.dup2(source, target)
    os.close(out)
    os.close(err)
    faulthandler.dump_traceback_later(RUN_SECONDS - 10, file=2)  # a caller that waits in vain sees where
    code = 1
    try:
        _prepare(request)
        import manage

        manage.main()
        code = 0
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    faulthandler.cancel_dump_traceback_later()
    # What Python does at its end.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)


def _prepare(request: Mapping[str, Any]) -> None:
    sys.argv = [str(ROOT / "manage.py"), *request["argv"]]
    if request["hurried"]:
        from jobs.providers.gce.compute import retry
        from jobs.providers.gce.identity import account
        from jobs.providers.gce.onboarding import repair
        from jobs.workers import waiting

        waiting.FIRST_PAUSE = retry.FIRST_PAUSE = 0.01
        account.POLL_SECONDS = repair.SETTLE_PAUSE = 0.01
    if request["die_at_write"]:
        _die_at_write(int(request["die_at_write"]))
    if request["cwd"] is not None:
        os.chdir(request["cwd"])
    if request["env"] is None:
        return
    os.environ.clear()
    os.environ.update(request["env"])
    from django.conf import settings
    from django.db import connections
    from django.utils.functional import empty

    # As before anything asked for a setting: the next one who does reads them all.
    settings.__dict__.clear()
    settings.__dict__["_wrapped"] = empty
    connections.__init__()  # type: ignore[misc]
    connections.__dict__.pop("settings", None)
    for name in [
        name for name in sys.modules if name.endswith("settings") and name.startswith("offload_web.")
    ]:
        del sys.modules[name]


def _die_at_write(number: int) -> None:
    from django.db.backends.signals import connection_created

    left = [number]

    def count(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.split(None, 1)[0].upper() in ("INSERT", "UPDATE", "DELETE"):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return execute(sql, params, many, context)

    def watch(connection: Any, **_: Any) -> None:
        connection.execute_wrappers.append(count)

    connection_created.connect(watch, weak=False)


if __name__ == "__main__":
    _serve()
