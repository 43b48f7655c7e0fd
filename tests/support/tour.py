"""A user on a tour: the command line, and simulated machines with a real sshd behind each."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from jobs.simulator import running
from jobs.simulator.machines import SshdMachines
from tests.support.cli import offload_cli
from tests.support.desk import Desk, make_shop
from tests.support.offload_home import processes_under
from tests.support.zygote import Zygote, zygote


@dataclass
class Tour(Desk):
    """A home with simulated machines. `cli` starts `manage.py`; `warm` forks what has imported it all."""

    warm: Zygote

    def json(self, *words: str) -> dict[str, Any]:
        """Run a command line and return what it says as data."""
        found: dict[str, Any] = json.loads(self.warm.run(*words, "--json").out)
        return found

    def fleet(self, verb: str, *words: str) -> dict[str, Any]:
        """Carry out a verb of `fleet`; return the worker as it says it is then."""
        found: dict[str, Any] = self.json("fleet", verb, *words, "--yes")["worker"]
        return found

    def job(self, number: int) -> dict[str, Any]:
        """Return a job as `offload status` shows it."""
        found: dict[str, Any] = self.json("offload", "status", *self.target(number))["job"]
        return found

    def begin(self, number: int, worker: str = "tour") -> str:
        """Start a review whose test waits; return its session once the test runs."""
        session = str(self.json("offload", *self.target(number), "--worker", worker)["job"]["session"])
        self.wait_for_test(number, session, worker)
        return session

    def worker(self, name: str = "tour") -> tuple[str, str]:
        """Return what is written down of a worker: state, and why."""
        return (
            self.row("jobs_worker", "state", name=name),
            self.row("jobs_worker", "state_detail", name=name),
        )

    def happened(self, session: str, kind: str, **wanted: str) -> list[datetime]:
        """Return when events of a kind befell a job."""
        sql = (
            "SELECT e.at, e.data FROM jobs_jobevent e JOIN jobs_job j ON j.id = e.job_id "
            "WHERE j.session = ? AND e.kind = ? ORDER BY e.id"
        )
        with sqlite3.connect(self.cli.home / "offload.sqlite3", timeout=20) as database:
            rows = database.execute(sql, (session, kind)).fetchall()
        found = [(datetime.fromisoformat(at), json.loads(data)) for at, data in rows]
        return [at for at, data in found if all(data.get(key) == value for key, value in wanted.items())]

    def simulator(self) -> tuple[str, int]:
        """Return the simulator's URL and process."""
        return running.read(self.cli.home)

    def resources(self) -> dict[str, list[str]]:
        """Return the names of the machines and disks that there are."""
        url, _ = self.simulator()
        found = {}
        for kind in ("instances", "disks"):
            path = f"/compute/v1/projects/simulated/aggregated/{kind}"
            with urlopen(url + path, timeout=30) as answer:
                scopes = json.load(answer)["items"].values()
            found[kind] = sorted(one["name"] for scope in scopes for one in scope.get(kind, ()))
        return found

    def steer(self, verb: str, /, **values: Any) -> None:
        """Steer the simulator."""
        url, body = f"{self.simulator()[0]}/simulator/{verb}", json.dumps(values).encode()
        urlopen(url, body, timeout=60).close()


@contextmanager
def on_tour(tmp: Path, **environment: str) -> Iterator[Tour]:
    """Give a tour that has not begun. What its machines and their simulator are is ended afterwards."""
    with ExitStack() as stack:
        cli = stack.enter_context(offload_cli(tmp))
        # No credentials anywhere, and nothing to export: a simulated worker is reached by its row alone.
        cli.env |= {"HOME": str(tmp / "person"), **environment}
        tour = Tour(cli, make_shop(tmp / "shop"), stack.enter_context(zygote(cli.env)))
        try:
            yield tour
        finally:
            if (pid := tour.simulator()[1]) in processes_under(str(running.place(cli.home))):
                os.kill(pid, signal.SIGKILL)
            machines = SshdMachines(running.machines(cli.home), "")
            for place in running.machines(cli.home).glob("*"):
                machines.wipe(place.name)
