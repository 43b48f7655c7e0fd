"""Command lines as real processes that cost no start: children of one process that has everything imported.

`python -m tests.support.zygote` reads requests as lines of JSON: `argv`, and `die_at_write` (0: never): the
child kills itself, by SIGKILL, before that many-th statement that changes the database. It answers `pid`,
and when the child has ended `status` (as `subprocess` has it), `out` and `err`.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from tests.support.cli import ROOT

START_SECONDS = 120.0
RUN_SECONDS = 60.0


@dataclass(frozen=True)
class Ended:
    """How a command line ended."""

    status: int
    out: str
    err: str


class Zygote:
    """The process that is forked, seen from the test."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, *argv: str, die_at_write: int = 0) -> int:
        """Start a command line; return its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"argv": argv, "die_at_write": die_at_write}) + "\n")
        self._process.stdin.flush()
        return int(self._answer(START_SECONDS)["pid"])

    def has_ended(self) -> bool:
        """Tell whether the command line that was started last has ended, and was not waited for yet."""
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def wait(self) -> Ended:
        """Wait for the end of the command line that was started last."""
        found = self._answer(RUN_SECONDS)
        return Ended(found["status"], found["out"], found["err"])

    def run(self, *argv: str, code: int = 0) -> Ended:
        """Run a command line and check its exit code."""
        self.start(*argv)
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
def zygote(env: Mapping[str, str]) -> Iterator[Zygote]:
    """Start one for the length of a block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.zygote"],
        env=dict(env), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    try:
        yield Zygote(process)
    finally:
        process.kill()
        process.communicate()


def _serve() -> None:
    import django

    django.setup()
    # What the commands would import, so that no child has to; nothing is connected to before the fork.
    import asyncssh  # noqa: F401
    import google.cloud.compute_v1
    import requests  # noqa: F401

    from jobs.management.commands import fleet, offload  # noqa: F401
    from jobs.providers.gce import api, cloud, patience  # noqa: F401
    from jobs.transport import ssh  # noqa: F401
    from jobs.workers import waiting

    assert google.cloud.compute_v1
    gc.collect()
    gc.freeze()  # a collection in a child would copy all of it
    waiting.FIRST_PAUSE = patience.FIRST_PAUSE = 0.01
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            pid = os.fork()
            if pid == 0:
                _be_the_command(request, out, err)
            _say({"pid": pid})
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            texts = [_text(file) for file in (out, err)]
        _say({"status": status, "out": texts[0], "err": texts[1]})


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _say(what: Mapping[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def _be_the_command(request: Mapping[str, Any], out: IO[str], err: IO[str]) -> None:
    from django.core.management import execute_from_command_line

    with open(os.devnull) as nothing:
        for source, target in ((nothing, 0), (out, 1), (err, 2)):
            os.dup2(source.fileno(), target)
    code = 1
    try:
        if request["die_at_write"]:
            _die_at_write(int(request["die_at_write"]))
        execute_from_command_line(["manage.py", *request["argv"]])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


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
