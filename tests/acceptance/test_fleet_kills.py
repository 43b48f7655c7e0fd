"""kill -9 of real command lines, at every request to the API and every change of a row.

Before a request is carried out, and after it was but before its answer; before each statement that changes
the database. The same command again, or a sweep, ends in what was wanted.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jobs.providers.gce import naming
from jobs.providers.gce.simulator import running
from jobs.providers.gce.simulator.http import Cut
from jobs.providers.gce.simulator.server import Simulator
from jobs.providers.gce.simulator.world import Json
from tests.support.cli import Cli
from tests.support.sshd import Sshd
from tests.support.zygote import Zygote, zygote

pytestmark = pytest.mark.timeout(300)
KEPT = ("resources", "operations", "pending", "requests", "guests", "consoles", "counter", "exhausted")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ][^\"]*|\"due\": [\d.]+")
# Every state that a death can leave is left at one of these, too: only they change anything.
CHANGES = ("ahead", "after", "write")
PROVISION = ("fleet", "provision", "box", "--simulate", "--yes")


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
    """A simulator that can hold one request, so that whoever sent it can be killed there.

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


@dataclass
class Stage:
    """A home, its simulator, and where command lines come from."""

    cli: Cli
    simulator: Held
    zygote: Zygote
    kept: dict[str, tuple[bytes, dict[str, Any]]] = field(default_factory=dict)

    @property
    def database(self) -> Path:
        return self.cli.home / "offload.sqlite3"

    def keep(self, name: str) -> None:
        """Keep the database and the cloud as they are."""
        with sqlite3.connect(self.database) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        world = {key: copy.deepcopy(getattr(self.simulator.world, key)) for key in KEPT}
        self.kept[name] = (self.database.read_bytes(), world)

    def restore(self, name: str) -> None:
        """Have the database and the cloud as they were."""
        data, world = self.kept[name]
        for left in self.cli.home.glob("offload.sqlite3-*"):
            left.unlink()
        self.database.write_bytes(data)
        self.simulator.settle()
        for key, value in world.items():
            setattr(self.simulator.world, key, copy.deepcopy(value))
        for path, one in self.simulator.world.resources.items():
            if "/instances/" in path and one["status"] == "RUNNING":
                assert self.simulator.machines
                self.simulator.machines.start(one["name"], {})

    def killed(self, argv: tuple[str, ...], when: str, number: int) -> bool:
        """Run a command and kill it at a point; False: it ended before it came there, and well."""
        self.simulator.hold(when, number)
        pid = self.zygote.start(*argv, die_at_write=number if when == "write" else 0)
        while not self.simulator.held.wait(0.005) and not self.zygote.has_ended():
            pass
        if self.simulator.held.is_set():
            os.kill(pid, signal.SIGKILL)
        ended = self.zygote.wait()
        self.simulator.released.set()
        self.simulator.when = ""
        assert ended.status in (0, -signal.SIGKILL), ended
        return ended.status != 0

    def was_asked(self, start: str) -> bool:
        """Tell whether the cloud accepted anything since it was as kept."""
        return len(self.simulator.world.operations) > len(self.kept[start][1]["operations"])

    def state(self) -> str:
        """Return the database and the cloud as a text that leaves the time out."""
        world = [getattr(self.simulator.world, key) for key in ("resources", "operations", "pending")]
        row = {key: value for key, value in self.row().items() if key not in ("state_since", "observed_at")}
        return _TIME.sub("", json.dumps([row, *world], sort_keys=True, default=str))

    def row(self) -> dict[str, Any]:
        """Return the worker's row."""
        with sqlite3.connect(self.database, timeout=20) as database:
            database.row_factory = sqlite3.Row
            found = database.execute("SELECT * FROM jobs_worker WHERE name = 'box'").fetchone()
        database.close()
        return {**found, "config": json.loads(found["config"])} if found else {}

    def there(self, kind: str) -> dict[str, Json]:
        """Return the machines or the disks of ours that there are, by name."""
        self.simulator.settle()
        found = [one for path, one in self.simulator.world.resources.items() if f"/{kind}/" in path]
        names = [one["name"] for one in found]
        assert len(names) == len(set(names)), f"one name in two zones: {names}"
        return {one["name"]: one for one in found}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    tmp = tmp_path_factory.mktemp("kill")
    cli = Cli(tmp / "home", tmp)
    machines = running.machines(cli.home)
    with Sshd(tmp / "sshd") as sshd, Held(machines=OneSshd(sshd, machines)) as simulator:
        machines.mkdir(parents=True)
        for end in ("", ".pub"):
            shutil.copy(f"{sshd.client_key}{end}", running.place(cli.home) / f"key{end}")
        running.note(cli.home, simulator.url, os.getpid())
        with zygote(cli.env) as forked:
            stage = Stage(cli, simulator, forked)
            forked.run("fleet", "ls")
            stage.keep("nothing")
            forked.run(*PROVISION)
            stage.keep("made")
            yield stage


def is_up_once(stage: Stage, zone: str = "us-central1-a") -> None:
    ((name, machine),) = stage.there("instances").items()
    assert (name, machine["status"], naming.last(machine["zone"])) == ("box", "RUNNING", zone)
    assert sorted(stage.there("disks")) == ["box", "box-data"]
    row = stage.row()
    assert (row["state"], row["desired"], row["config"]["disk_zone"]) == ("ready", "up", zone)
    assert not {"rebuild", "delete", "tried"} & set(row["config"])


@dataclass
class Points:
    """Where a command was killed, and how many different states that left behind."""

    kills: Counter[str] = field(default_factory=Counter)
    states: set[str] = field(default_factory=set)


def everywhere(
    stage: Stage,
    start: str,
    argv: tuple[str, ...],
    check: Callable[[], None],
    *,
    wish: str,
    again: tuple[str, ...] = (),
    kinds: tuple[str, ...] = ("before", "after", "write"),
) -> Points:
    """Kill the command at every point; run it (or `again`) once more for each state left, and check.

    Intent before action: as soon as anything was asked of the cloud, the row's `desired` is `wish`.
    """
    points = Points()
    for when in kinds:
        for number in range(1, 100):
            stage.restore(start)
            if not stage.killed(argv, when, number):
                break
            points.kills[when] += 1
            assert stage.row().get("desired") == wish or not stage.was_asked(start)
            if (state := stage.state()) in points.states:
                continue
            points.states.add(state)
            if again and stage.row()["desired"] != "gone":
                continue  # the command died before it was known what it was for
            stage.zygote.run(*(again or argv))
            check()
        else:
            raise AssertionError("It did not come to an end within 100 points.")
        check()  # the run that was not killed
    assert min(points.kills[when] for when in kinds) >= 1
    return points


def test_provision(stage: Stage) -> None:
    points = everywhere(stage, "nothing", PROVISION, lambda: is_up_once(stage), wish="up")
    assert (points.kills["before"] >= 12, points.kills["write"] >= 8, len(points.states) >= 10) == (True,) * 3


def test_provision_when_the_first_zone_says_late_that_it_is_full(stage: Stage) -> None:
    stage.restore("nothing")
    stage.simulator.world.exhausted = ["us-central1-a"]
    stage.keep("full")
    check = lambda: is_up_once(stage, "us-central1-b")  # noqa: E731
    points = everywhere(stage, "full", PROVISION, check, kinds=CHANGES, wish="up")
    assert points.kills["after"] >= 3


def test_stop(stage: Stage) -> None:
    def check() -> None:
        assert stage.there("instances")["box"]["status"] == "TERMINATED"
        row = stage.row()
        assert (row["state"], row["desired"]) == ("stopped", "down")

    points = everywhere(stage, "made", ("fleet", "stop", "box", "--yes"), check, wish="down")
    assert len(points.states) >= 4


def test_rebuild(stage: Stage) -> None:
    stage.restore("made")
    machine, disk = stage.there("instances")["box"]["id"], stage.there("disks")["box-data"]["id"]

    def check() -> None:
        is_up_once(stage)
        assert stage.there("instances")["box"]["id"] != machine, "it is a new machine"
        assert stage.there("disks")["box-data"]["id"] == disk, "on the old data disk"

    points = everywhere(stage, "made", ("fleet", "rebuild", "box", "--yes"), check, wish="up")
    assert (points.kills["after"] >= 2, len(points.states) >= 8) == (True, True)


def test_resize(stage: Stage) -> None:
    def check() -> None:
        is_up_once(stage)
        assert stage.there("instances")["box"]["machineType"].endswith("/n2-standard-16")
        assert stage.row()["config"]["spec"]["machine_type"] == "n2-standard-16"

    words = ("fleet", "resize", "box", "n2-standard-16", "--yes")
    points = everywhere(stage, "made", words, check, kinds=CHANGES, wish="up")
    assert (points.kills["after"] >= 3, len(points.states) >= 8) == (True, True)


def test_ctrl_c_in_a_resize_is_not_silent(stage: Stage) -> None:
    stage.restore("made")
    words = ("fleet", "resize", "box", "n2-standard-16", "--yes")
    stage.simulator.hold("ahead", 2)  # the first is the stop
    pid = stage.zygote.start(*words)
    assert stage.simulator.held.wait(60)
    os.kill(pid, signal.SIGINT)
    stage.simulator.released.set()
    ended = stage.zygote.wait()
    stage.simulator.when = ""
    assert ended.status == 130
    assert "Interrupted while changing box. box is stopped." in ended.err
    assert "`manage.py fleet resize box n2-standard-16` goes on" in ended.err
    assert "`manage.py fleet start box`" in ended.err
    stage.zygote.run(*words)
    is_up_once(stage)
    assert stage.there("instances")["box"]["machineType"].endswith("/n2-standard-16")


@pytest.mark.parametrize("again", [(), ("fleet", "sweep", "--yes")], ids=["command", "sweep"])
@pytest.mark.parametrize("with_disk", [False, True], ids=["keep", "disk"])
def test_delete(stage: Stage, with_disk: bool, again: tuple[str, ...]) -> None:
    def check() -> None:
        assert (stage.there("instances"), sorted(stage.there("disks"))) == (
            {},
            [] if with_disk else ["box-data"],
        )
        row = stage.row()
        assert (row["state"], row["desired"]) == ("absent", "gone")

    words = ("fleet", "delete", "box", "--yes", *(["--with-disk"] if with_disk else []))
    points = everywhere(stage, "made", words, check, wish="gone", again=again, kinds=CHANGES)
    assert points.kills["after"] >= (2 if with_disk else 1)
    assert len(points.states) >= 4
