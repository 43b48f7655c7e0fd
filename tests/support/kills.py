"""What kills command lines at every point, and puts cloud and home back as they were: see `everywhere`."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.simulator.http import Cut
from jobs.simulator.server import Simulator
from jobs.simulator.world import Json
from tests.support.cli import Cli
from tests.support.sshd import Sshd
from tests.support.zygote import Ended, Zygote

KEPT = (
    "resources", "operations", "pending", "requests", "guests", "consoles", "counter", "exhausted", "account",
)  # fmt: skip
FILES = ("home-id", "config.toml")  # of the home, next to the database
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ][^\"]*|\"due\": [\d.]+")
# Every state that a death can leave is left at one of these, too: only they change anything.
CHANGES = ("ahead", "after", "write")


class OneSshd:
    """One real sshd behind every machine."""

    def __init__(self, sshd: Sshd, machines: Path) -> None:
        self._sshd = sshd
        self._machines = machines

    def start(self, name: str, metadata: Mapping[str, str]) -> dict[str, str]:
        place = self._machines / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "running.json").write_text(json.dumps({"port": self._sshd.port}))
        kind, text = Path(f"{self._sshd.host_key}.pub").read_text().split()[:2]
        return {kind: text}

    def stop(self, name: str) -> None:
        (self._machines / name / "running.json").unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        self.stop(name)

    def wipe(self, name: str) -> None:
        pass


class Held(Simulator):
    """A simulator that can hold one request, so that its sender can be killed there.

    `before`: the n-th of all, not carried out yet. `ahead`: the n-th that changes something, not carried out
    yet. `after`: the n-th that changes something, carried out and not answered yet.
    """

    when = ""
    left = 0

    def hold(self, when: str, number: int) -> None:
        """Hold the `number`-th request from now on; it is never answered."""
        self.when, self.left = when, number
        self.held, self.released = threading.Event(), threading.Event()

    def answer(self, method: str, target: str, body: bytes) -> Json:
        if target.startswith("/simulator/"):
            return super().answer(method, target, body)
        self._hold_if(("before",) if method == "GET" else ("before", "ahead"))
        found = super().answer(method, target, body)
        self._hold_if(() if method == "GET" else ("after",))
        return found

    def _hold_if(self, moments: tuple[str, ...]) -> None:
        if self.when not in moments:
            return
        self.left -= 1
        if self.left == 0:
            self.held.set()
            self.released.wait(60)
            raise Cut


@dataclass(frozen=True)
class Kept:
    """A home and a cloud as they were."""

    database: bytes
    files: Mapping[str, str]
    world: Mapping[str, Any]


@dataclass
class Stage:
    """A home, its simulator, and where command lines come from."""

    cli: Cli
    simulator: Held
    zygote: Zygote
    env: Mapping[str, str] | None = None  # of the command lines, where it is not the zygote's
    kept: dict[str, Kept] = field(default_factory=dict)

    @property
    def database(self) -> Path:
        return self.cli.home / "offload.sqlite3"

    def keep(self, name: str) -> None:
        """Keep the home and the cloud as they are."""
        with sqlite3.connect(self.database) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        world = {key: copy.deepcopy(getattr(self.simulator.world, key)) for key in KEPT}
        self.kept[name] = Kept(self.database.read_bytes(), self.files(), world)

    def files(self) -> dict[str, str]:
        """Return what the home's files hold, by name."""
        there = [name for name in FILES if (self.cli.home / name).exists()]
        return {name: (self.cli.home / name).read_text() for name in there}

    def restore_home(self, name: str) -> None:
        """Have the database and the files of the home as they were."""
        kept = self.kept[name]
        for left in self.cli.home.glob("offload.sqlite3-*"):
            left.unlink()
        self.database.write_bytes(kept.database)
        for file in FILES:
            (self.cli.home / file).unlink(missing_ok=True)
            if file in kept.files:
                (self.cli.home / file).write_text(kept.files[file])

    def restore(self, name: str) -> None:
        """Have the home and the cloud as they were."""
        self.restore_home(name)
        self.simulator.settle()
        for key, value in self.kept[name].world.items():
            setattr(self.simulator.world, key, copy.deepcopy(value))
        for path, one in self.simulator.world.resources.items():
            if "/instances/" in path and one["status"] == "RUNNING":
                assert self.simulator.machines
                self.simulator.machines.start(one["name"], {})

    def killed(self, argv: tuple[str, ...], when: str, number: int) -> bool:
        """Run a command and kill it at a point; False: it ended before it came there, and well."""
        self.simulator.hold(when, number)
        pid = self.zygote.start(*argv, die_at_write=number if when == "write" else 0, env=self.env)
        while not self.simulator.held.wait(0.005) and not self.zygote.has_ended():
            pass
        if self.simulator.held.is_set():
            os.kill(pid, signal.SIGKILL)
        ended = self.zygote.wait()
        self.simulator.released.set()
        self.simulator.when = ""
        assert ended.status in (0, -signal.SIGKILL), ended
        return ended.status != 0

    def run(self, *argv: str) -> Ended:
        """Run a command line that ends well."""
        return self.zygote.run(*argv, env=self.env)

    @contextmanager
    def at_google(self, **env: str) -> Iterator[None]:
        """Have the simulator be Google for the command lines of a block, and what else `env` says."""
        self.env = {**self.cli.env, **self.simulator.overrides, **env}
        try:
            yield
        finally:
            self.env = None

    def was_asked(self, start: str) -> bool:
        """Tell whether the cloud accepted anything since it was as kept."""
        return len(self.simulator.world.operations) > len(self.kept[start].world["operations"])

    def state(self) -> str:
        """Return the home and the cloud as a text that leaves the time out."""
        world = [
            getattr(self.simulator.world, key) for key in ("resources", "operations", "pending", "account")
        ]
        row = {key: value for key, value in self.row().items() if key not in ("state_since", "observed_at")}
        return _TIME.sub("", json.dumps([row, self.files(), *world], sort_keys=True, default=str))

    def row(self) -> dict[str, Any]:
        """Return the worker's row."""
        with sqlite3.connect(self.database, timeout=20) as database:
            database.row_factory = sqlite3.Row
            found = database.execute("SELECT * FROM jobs_worker WHERE name = 'box'").fetchone()
        database.close()
        return (
            {**found, "config": json.loads(found["config"]), "facts": json.loads(found["facts"])}
            if found
            else {}
        )

    def there(self, kind: str) -> dict[str, Json]:
        """Return the machines or the disks of ours that there are, by name."""
        self.simulator.settle()
        found = [one for path, one in self.simulator.world.resources.items() if f"/{kind}/" in path]
        names = [one["name"] for one in found]
        assert len(names) == len(set(names)), f"one name in two zones: {names}"
        return {one["name"]: one for one in found}


@dataclass
class Points:
    """Where a command was killed, how many different states that left, and from how many `also` was run."""

    kills: Counter[str] = field(default_factory=Counter)
    states: set[str] = field(default_factory=set)
    also: int = 0


def everywhere(
    stage: Stage,
    start: str,
    argv: tuple[str, ...],
    check: Callable[[], None],
    *,
    desired: str = "",
    also: tuple[str, ...] = (),
    kinds: tuple[str, ...] = ("before", "after", "write"),
) -> Points:
    """Kill the command at every point; run it once more for each state left, and check.

    `also`: another command that ends in the same; it is run from each of those states too in which the home
    knows what the command was for. Intent before action: as soon as anything was asked of the cloud, the
    row's `desired` is the one given.
    """
    points = Points()
    for when in kinds:
        for number in range(1, 100):
            stage.restore(start)
            if not stage.killed(argv, when, number):
                break
            points.kills[when] += 1
            assert stage.row().get("desired") == desired or not stage.was_asked(start)
            if (state := stage.state()) in points.states:
                continue
            points.states.add(state)
            known = stage.row().get("desired") == desired
            if also and known:
                stage.keep("dead")
            stage.run(*argv)
            check()
            if also and known:
                stage.restore("dead")
                stage.run(*also)
                check()
                points.also += 1
        else:
            raise AssertionError("It did not come to an end within 100 points.")
        check()  # the run that was not killed
    assert min(points.kills[when] for when in kinds) >= 1
    return points
