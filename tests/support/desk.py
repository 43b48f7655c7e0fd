"""Somebody's desk: the command line, its database, and a repository here with pull requests."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.remote.offload_runner import protocol
from jobs.remote.offload_runner.engine.journal import Journal
from tests.support.cli import Cli
from tests.support.git_repos import NO_HUNKS, RepoBuilder

PATIENCE = 30.0


def until(what: Callable[[], Any], why: str, seconds: float = PATIENCE) -> float:
    """Wait until `what` is true; return how long it took, in seconds."""
    start = time.monotonic()
    while not what():
        assert time.monotonic() - start < seconds, f"never happened within {seconds:g} s: {why}"
        time.sleep(0.05)
    return time.monotonic() - start


def make_shop(path: Path) -> RepoBuilder:
    """Make a repository with one pull request, and a test that passes."""
    shop = RepoBuilder(path)
    files = {"Makefile": "test:\n\tsh ./test.sh\n", "test.sh": "test -f app.txt\n", "app.txt": "one\n"}
    shop.commit({**NO_HUNKS, **files})
    return shop.pull(1, {"app.txt": "two\n"})


def _at_work(journal: Path) -> set[str]:
    """Return the tasks that have started and not finished, by a job's journal."""
    tasks: set[str] = set()
    for event in Journal(journal).read():
        if event["kind"] == protocol.TASK_STARTED:
            tasks.add(event["task"])
        elif event["kind"] == protocol.TASK_FINISHED:
            tasks.discard(event["task"])
    return tasks


@dataclass
class Desk:
    """A command line at home, and the repository that it is about."""

    cli: Cli
    shop: RepoBuilder

    def target(self, number: int) -> tuple[str, str, str, str]:
        """Return the words that name a review in the repository."""
        return (str(number), "review", "--repo", self.shop.url)

    def waiting_pull(self, number: int) -> Path:
        """Make a pull request whose test waits for a file; return the file."""
        go = self.shop.path.parent / f"go-{number}"
        script = f"echo waiting for go\nwhile ! test -f {go}; do sleep 0.1; done\n"
        self.shop.pull(number, {"test.sh": script})
        return go

    def launch(self, number: int, worker: str = "far") -> dict[str, Any]:
        """Start a review without attaching; return the job once its test runs."""
        job: dict[str, Any] = self.cli.json("offload", *self.target(number), "--worker", worker)["job"]
        self.wait_for_test(number, job["session"], worker)
        return job

    def wait_for_test(self, number: int, session: str, worker: str) -> None:
        """Wait until the test of a waiting pull request runs, and none of its sibling tasks any more."""
        job = self.root_of(worker) / "jobs" / session
        log = job / "tasks" / "test.log"
        until(lambda: log.exists() and "waiting for go" in log.read_text(), f"the test of #{number} runs")
        until(lambda: _at_work(job / "events.jsonl") == {"test"}, f"#{number} is at its test alone")

    def root_of(self, worker: str) -> Path:
        """Return a worker's root, as the database has it."""
        return Path(self.row("jobs_worker", "root", name=worker))

    def row(self, table: str, column: str, **where: Any) -> Any:
        """Return one column of one row of the command line's database."""
        ((name, value),) = where.items()
        with sqlite3.connect(self.cli.home / "offload.sqlite3", timeout=20) as database:
            found = database.execute(f"SELECT {column} FROM {table} WHERE {name} = ?", (value,)).fetchone()
        return found[0] if found else None

    def change_worker(self, name: str, config: dict[str, Any]) -> None:
        """Change a worker's configuration, as a user would in the admin."""
        with sqlite3.connect(self.cli.home / "offload.sqlite3", timeout=20) as database:
            database.execute("UPDATE jobs_worker SET config = ? WHERE name = ?", (json.dumps(config), name))


@contextmanager
def reconciling(desk: Desk) -> Iterator[None]:
    """Run the loop, as `serve` does."""
    process = desk.cli.start("reconcile")
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
