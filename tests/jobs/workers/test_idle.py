"""When a machine stops, and why: what its watchdog said, what was asked since, what its provider does."""

from __future__ import annotations

import json
from argparse import Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from jobs.errors import Refused, UsageError
from jobs.models import JobEvent, Worker
from jobs.providers.base import Instance, InstanceState
from jobs.remote.offload_runner.commands import watchdog
from jobs.states import WorkerState
from jobs.workers import idle
from jobs.workers.fleet import look_at_machine, note_machine
from jobs.workers.idle import idle_of, in_zone, until_of, with_moments
from jobs.workers.machines import bring_row
from tests.jobs.workers.base import CloudTest

NOW = datetime(2026, 3, 4, 17, 0, tzinfo=UTC)
SINCE = NOW - timedelta(minutes=10)


def said(*, at: datetime = NOW, **more: Any) -> dict[str, Any]:
    """What a watchdog writes about a machine that has been idle for ten minutes of its thirty."""
    return {
        "at": at.isoformat(), "idle_since": SINCE.isoformat(), "idle_minutes": 30, "reasons": [],
        "stops_at": (SINCE + timedelta(minutes=30)).isoformat(),
        "because": "nothing has been at work here since 2026-03-04T16:50:00Z",
    } | more  # fmt: skip


def worker(state: str = "ready", **facts: Any) -> Worker:
    return Worker(name="box", provider="memory", root="/r", state=state, facts=facts)


def kept(until: datetime, at: datetime = NOW) -> dict[str, str]:
    return {"until": until.isoformat(), "by": "mira", "at": at.isoformat()}


def text(row: Worker, now: datetime = NOW) -> str:
    found = idle_of(row, now)
    return in_zone(found.parts, now=now) if found is not None else ""


def test_it_is_told_with_its_reason() -> None:
    row = worker(idle=said())
    assert text(row) == "Stops at 17:20 UTC because nothing has been at work here since 16:50 UTC."
    busy = worker(idle=said(stops_at=None, because="shop-1-review is at work"))
    assert text(busy) == "Stays up because shop-1-review is at work."


def test_old_words_and_machines_that_are_down_say_nothing() -> None:
    assert idle_of(worker(idle=said()), NOW + timedelta(minutes=6)) is None
    assert idle_of(worker("stopped", idle=said(), deadline=NOW.isoformat()), NOW) is None
    assert idle_of(worker(idle={"at": "yesterday"}), NOW) is None
    ssh = Worker(name="mine", provider="ssh", root="/r", state="ready", facts={"idle": said()})
    assert idle_of(ssh, NOW) is None


def test_a_keep_counts_before_the_watchdog_has_looked_again() -> None:
    before = NOW - timedelta(seconds=30)
    row = worker(idle=said(at=before), kept=kept(NOW + timedelta(hours=4)))
    assert text(row) == "Stops at 21:00 UTC because it is kept until then on request."
    short = worker(idle=said(at=before), kept=kept(NOW + timedelta(minutes=5)))
    assert "Stops at 17:20 UTC because nothing" in text(short)
    reasons = [{"kind": "job", "text": "shop-1-review is at work"}]
    busy = idle_of(worker(idle=said(at=before, reasons=reasons), kept=kept(NOW + timedelta(hours=4))), NOW)
    assert busy is not None
    assert (busy.stops_at, busy.kept_until) == (None, NOW + timedelta(hours=4))
    bare = worker(kept=kept(NOW + timedelta(hours=4)))
    assert text(bare) == "Stays up because it is kept until 21:00 UTC on request."


def test_the_end_of_a_keep_counts_at_once() -> None:
    until = NOW + timedelta(hours=4)
    reasons = [{"kind": "keep", "text": f"kept until {until:%Y-%m-%dT%H:%M:%SZ} on request"}]
    words = said(
        at=NOW - timedelta(seconds=30), reasons=reasons, stops_at=until.isoformat(),
        because="it is kept until then on request",
    )  # fmt: skip
    during = idle_of(worker(idle=words), NOW)
    assert during is not None
    assert during.kept_until == until
    ended = idle_of(worker(idle=words, kept=kept(NOW)), NOW)
    assert ended is not None
    assert (ended.stops_at, ended.kept_until) == (SINCE + timedelta(minutes=30), None)


def test_the_deadline_of_the_provider_comes_first_when_it_is_first() -> None:
    near = (NOW + timedelta(minutes=15)).isoformat()
    row = worker(idle=said(), deadline=near)
    assert text(row) == "Stops at 17:15 UTC because its longest run time is used up then."
    busy = idle_of(worker(idle=said(stops_at=None, because="a job is at work"), deadline=near), NOW)
    assert busy is not None
    assert busy.is_soon(NOW)
    assert (
        in_zone(busy.parts, now=NOW)
        == "Stays up because a job is at work. Its longest run time ends at 17:15 UTC."
    )
    far = worker(idle=said(), deadline=(NOW + timedelta(hours=9)).isoformat())
    assert text(far).endswith("Its longest run time ends at 2026-03-05 02:00 UTC.")
    assert text(worker("unreachable", idle=said(), deadline=near)).startswith("Stops at 17:15 UTC")


def test_moments_are_found_in_texts() -> None:
    assert with_moments("a 2026-03-04T17:00:00Z b") == ["a ", NOW, " b"]
    assert with_moments("at 2026-99-04T17:00:00Z") == ["at 2026-99-04T17:00:00Z"]
    assert with_moments("") == []


def test_hours_have_limits() -> None:
    for hours in (-1, 169, float("nan")):
        try:
            until_of(hours)
        except UsageError:
            continue
        raise AssertionError(hours)


@pytest.mark.parametrize("minutes_idle", [0, 10, 29])
@pytest.mark.parametrize("hours", [0, 0.1, 4])
def test_what_is_told_before_the_watchdog_looks_again_is_what_it_says_then(
    tmp_path: Path, minutes_idle: float, hours: float
) -> None:
    """The same rules on both sides: the machine's own program, and what pages say until it has looked."""
    (tmp_path / "proc" / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "state").mkdir()
    options = Namespace(
        root=tmp_path,
        proc=str(tmp_path / "proc"),
        idle_minutes=30,
        tmux="no-such-tmux",
        socket="",
        tmux_socket="",
    )
    now = NOW.timestamp()
    for look_at in (now - 60 * minutes_idle - 60, now - 60):
        (tmp_path / "state" / "idle.json").write_text(json.dumps(watchdog.observe(options, look_at, look_at)))
    before = json.loads((tmp_path / "state" / "idle.json").read_text())
    until = NOW + timedelta(hours=hours)
    told = idle_of(worker(idle=before, kept=kept(until)), NOW)
    (tmp_path / "state" / "keep-until").write_text(f"{until:%Y-%m-%dT%H:%M:%SZ}\n")
    after = watchdog.observe(options, now, now)
    assert told is not None
    assert told.stops_at == datetime.fromisoformat(after["stops_at"])
    assert with_moments(told.because) == with_moments(after["because"])
    again = idle_of(worker(idle=after, kept=kept(until, NOW - timedelta(seconds=1))), NOW)
    assert again is not None
    assert again.kept_until == told.kept_until == (until if hours else None)


class Machines(CloudTest):
    def watchdog(self, **words: Any) -> None:
        Path(self.root, "state").mkdir(exist_ok=True)
        Path(self.root, "state", "idle.json").write_text(json.dumps(words))

    async def events(self, kind: str) -> list[JobEvent]:
        return [event async for event in JobEvent.objects.filter(kind=kind).order_by("id")]

    async def test_pages_hear_of_what_is_new_and_not_of_each_look(self) -> None:
        row, _ = await self.provision()
        now = timezone.now()
        stops = (now + timedelta(minutes=30)).isoformat()
        for seconds in (0, 60):
            at = (now + timedelta(seconds=seconds)).isoformat()
            self.watchdog(at=at, stops_at=stops, because="nothing is at work")
            row = await idle.read_idle(row)
            self.assertEqual(row.facts["idle"]["at"], at)
        self.assertEqual([event.data["stops_at"] for event in await self.events("idle")], [stops])
        self.watchdog(at=now.isoformat(), stops_at=None, because="a job is at work")
        await idle.read_idle(row)
        self.assertEqual([event.data["stops_at"] for event in await self.events("idle")], [stops, None])

    async def test_a_machine_that_answers_was_seen(self) -> None:
        row, _ = await self.provision()
        long_ago = timezone.now() - timedelta(hours=1)
        for written in (False, True):
            await Worker.objects.filter(id=row.id).aupdate(observed_at=long_ago)
            if written:
                self.watchdog(at=timezone.now().isoformat())
            await idle.read_idle(await self.row())
            seen = (await self.row()).observed_at
            self.assertTrue(seen is not None and seen > long_ago, f"with a watchdog: {written}")

    async def test_keeping_writes_what_the_watchdog_reads_and_who_asked(self) -> None:
        row, _ = await self.provision()
        until = until_of(4)
        row = await idle.keep(row, until, "mira")
        self.assertEqual(Path(self.root, "state", "keep-until").read_text(), f"{until:%Y-%m-%dT%H:%M:%SZ}\n")
        self.assertEqual(row.facts["kept"]["by"], "mira")
        (event,) = await self.events("kept")
        self.assertEqual((event.actor, event.data["until"]), ("mira", f"{until:%Y-%m-%dT%H:%M:%SZ}"))
        other = await Worker.objects.acreate(name="mine", provider="ssh", config={"host": "h"}, root="/r")
        with self.assertRaises(Refused):
            await idle.keep(other, until)

    async def test_a_row_says_why_its_machine_is_down_and_since_when(self) -> None:
        stopped = timezone.now().replace(microsecond=0) - timedelta(hours=3)
        idle_at = {"stops_at": stopped.isoformat(), "because": "nothing was at work"}
        for because, facts, sentence in (
            ("preempted", {}, "Preempted: Google took it."),
            ("deadline", {}, "Stopped at its deadline"),
            ("guest", {"idle": idle_at}, "It turned itself off because nothing was at work."),
            ("guest", {}, "stopped from outside. Google took it."),
            ("stopped", {"idle": idle_at}, "stopped from outside"),
        ):
            with self.subTest(because=because, facts=facts):
                row = await Worker.objects.acreate(
                    name="gone", provider="memory", root="/r", state="ready", facts=facts
                )
                data = {
                    "because": because,
                    "last_stop": stopped.isoformat(),
                    "last_start": "2020-01-01T00:00:00Z",
                }
                await note_machine(row, Instance("gone", InstanceState.STOPPED, "Google took it.", data))
                row = await self.row("gone")
                self.assertEqual((row.state, row.state_since), ("stopped", stopped))
                self.assertIn(sentence, row.state_detail)
                self.assertEqual(row.facts["down"], because)
                await row.adelete()

    async def test_the_reason_is_told_while_it_goes_down_and_stays(self) -> None:
        row, _ = await self.provision()
        gone = {"because": "preempted"}
        for state in (InstanceState.STOPPING, InstanceState.STOPPED):
            await note_machine(await self.row(), Instance("box", state, "Google took it.", gone))
            row = await self.row()
            self.assertEqual((row.state, row.state_detail), (state.value, "Preempted: Google took it."))

    async def test_a_stop_on_request_is_never_said_to_be_from_outside(self) -> None:
        row, _ = await self.provision()
        await bring_row(row.id, WorkerState.STOPPING, "Stopped on request.")
        said = Instance("box", InstanceState.STOPPED, "It was stopped.", {"because": "stopped"})
        await note_machine(await self.row(), said)
        self.assertEqual((await self.row()).state_detail, "Stopped on request.")

    async def test_an_older_stop_is_not_taken_for_this_one(self) -> None:
        row, _ = await self.provision()
        data = {"last_stop": "2020-01-01T00:00:00Z", "last_start": timezone.now().isoformat()}
        await note_machine(row, Instance("box", InstanceState.STOPPED, "", data))
        self.assertLess(timezone.now() - (await self.row()).state_since, timedelta(minutes=1))

    async def test_the_deadline_is_known_while_it_runs_and_a_stopped_machine_is_looked_at(self) -> None:
        row, _ = await self.provision()
        end = timezone.now() + timedelta(hours=2)
        box = self.cloud.instances["box"]
        self.cloud.instances["box"] = Instance("box", box.state, "", {"deadline": end.isoformat()})
        await look_at_machine(row)
        found = idle_of(await self.row())
        self.assertEqual(found.deadline if found else None, end)
        self.cloud.instances["box"] = Instance("box", InstanceState.STOPPED)
        await look_at_machine(await self.row())
        row = await self.row()
        self.assertNotIn("deadline", row.facts)
        await Worker.objects.filter(id=row.id).aupdate(observed_at=end - timedelta(days=1))
        await look_at_machine(row)
        self.assertLess(timezone.now() - ((await self.row()).observed_at or end), timedelta(minutes=1))
