"""The workers' page, its buttons, and what a job's page says of its machine."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from asgiref.sync import async_to_sync
from django.test import TransactionTestCase
from django.utils import timezone

from jobs.dashboard.workers.load import LoadView
from jobs.dashboard.workers.presenters import WorkerCard, clock, html
from jobs.formats import format_money
from jobs.models import Job, JobEvent, Pool, Worker, WorkerRequest
from jobs.providers.base import Price
from jobs.states import RequestKind, WorkerState
from jobs.transitions import note_waiting
from jobs.workers.costs import price_of
from jobs.workers.requests import add_request, finish_request, open_requests
from offload_web.login import local_user
from tests.support.factories import make_job, make_worker

WHO = "local (dashboard)"


def stamp(minutes: float) -> str:
    return (timezone.now() + timedelta(minutes=minutes)).isoformat()


def make_machine(name: str = "box", state: str = "ready", **columns: Any) -> Worker:
    """A machine on Compute Engine that is idle, stops in ten minutes, and has run for two hours."""
    idle = {
        "at": stamp(-0.5), "idle_since": stamp(-20), "idle_minutes": 30, "reasons": [],
        "stops_at": stamp(10), "because": f"nothing has been at work here since {stamp(-20)}",
    }  # fmt: skip
    config = {
        "project": "acme-dev", "spec": {"machine_type": "n2-standard-8"},
    } | columns.pop("config", {})  # fmt: skip
    facts = {"zone": "europe-west4-a", "idle": idle} | columns.pop("facts", {})
    values = {
        "provider": "gce-cos", "root": "/mnt/disks/offload", "state": state, "config": config, "facts": facts,
    } | columns  # fmt: skip
    row = Worker.objects.create(name=name, observed_at=timezone.now(), **values)
    JobEvent.objects.create(
        worker=row, kind="worker_state", at=timezone.now() - timedelta(hours=2),
        data={"state": "ready", "detail": "Answered after its boot."},
    )  # fmt: skip
    return row


def price_of_machine(row: Worker) -> Price:
    """What the table has for it: the tests do not know its figures."""
    price = async_to_sync(price_of)(row)
    assert price is not None
    return price


def at_work(worker: Worker, state: str = "running", minutes: float = 30, **columns: Any) -> Job:
    """A job that began so many minutes ago."""
    job = make_job(worker=worker, state=state, **columns)
    begun = timezone.now() - timedelta(minutes=minutes)
    JobEvent.objects.create(job=job, kind="state", at=begun, data={"state": "running"})
    return job


def test_moments_are_for_the_readers_own_clock_and_text_is_text() -> None:
    now = timezone.now().replace(microsecond=0)
    tag = clock(now)
    assert f'<time datetime="{now.isoformat()}" data-clock title="{now:%Y-%m-%d %H:%M} UTC">' in tag
    assert f">{now:%H:%M} UTC</time>" in tag
    assert html(["<b>", now]).startswith("&lt;b&gt;<time ")


class PageTest(TransactionTestCase):
    def setUp(self) -> None:
        self.client.force_login(local_user())


class TheList(PageTest):
    def test_a_machine_says_what_it_is_when_it_stops_and_what_it_costs(self) -> None:
        row = make_machine()
        job, price = at_work(row, number=31), price_of_machine(row)
        answer = self.client.get("/workers/")
        for text in (
            "Compute Engine, n2-standard-8, europe-west4-a, acme-dev", "ready", "checked over ssh,",
            "1 of 2 slots used", f'/jobs/{job.id}/', "acme/tinycart #31 review",
            "Stops at <time", "because nothing has been at work here since <time",
            format_money(price.running, "USD"), "this month", "so far", "2 h 00 min",
            format_money(2 * price.running, "USD"),
            f"estimate, prices of {price.as_of}", f'href="{price.source}"',
            "up for</span>", "Events", "Answered after its boot.",
        ):  # fmt: skip
            self.assertContains(answer, text)
        self.assertContains(
            answer, f'Now <strong class="num">{format_money(price.running, "USD")}</strong> an hour'
        )

    def test_a_machine_of_ones_own_costs_nothing_and_has_no_buttons(self) -> None:
        make_worker("mine", provider="ssh", config={"host": "h"})
        answer = self.client.get("/workers/")
        self.assertContains(answer, "mine")
        for text in ("USD", "up for</span>", "/start/", "/stop/"):
            self.assertNotContains(answer, text)

    def test_why_a_machine_is_down_is_a_word_and_a_sentence(self) -> None:
        for because, word in (
            ("preempted", "preempted"), ("stopped", "stopped from outside"), ("guest", "turned itself off"),
        ):  # fmt: skip
            row = make_machine(because, "stopped", state_detail="Told by Google.", facts={"down": because})
            answer = self.client.get("/workers/")
            self.assertContains(answer, f"</svg>{word}</span>")
            self.assertContains(answer, f"/workers/{because}/start/")
            self.assertContains(answer, "told by its provider,")
            row.delete()
        make_machine("asked", "stopped", desired="down", facts={"down": "stopped"})
        self.assertContains(self.client.get("/workers/"), "</svg>stopped</span>")

    def test_every_state_has_a_mark(self) -> None:
        for state in WorkerState:
            mark = WorkerCard.of(Worker(name="x", provider="ssh", root="/", state=state), [], [], None).mark
            assert mark.word == state
            assert mark.tone

    def test_what_was_asked_and_what_failed_is_told(self) -> None:
        row = make_machine()
        failed = add_request(row.id, RequestKind.START, actor="mira")
        finish_request(failed.id, "Starting it failed: <full>.")
        self.assertContains(self.client.get("/workers/"), "Starting it failed: &lt;full&gt;.")
        add_request(row.id, RequestKind.STOP, actor="mira")
        add_request(row.id, RequestKind.KEEP, actor="mira", parameters={"until": stamp(60)})
        answer = self.client.get("/workers/")
        self.assertContains(answer, "Stop requested by mira.")
        self.assertContains(answer, "Requested to stay up until <time")

    def test_a_price_that_is_not_known_is_not_made_up(self) -> None:
        make_machine(config={"spec": {"machine_type": "z9-mega-8"}})
        self.assertNotContains(self.client.get("/workers/"), "USD")

    def test_a_broken_configuration_breaks_no_page(self) -> None:
        row = make_machine(config={"project": ""}, facts={"deadline": "soon", "idle": {"at": 5}})
        job = at_work(row)
        assert self.client.get("/workers/").status_code == 200
        assert self.client.get(f"/jobs/{job.id}/").status_code == 200


class Buttons(PageTest):
    def test_keeping_records_the_request_with_who_asked(self) -> None:
        make_machine()
        before = timezone.now().replace(microsecond=0)
        answer = self.client.post("/workers/box/keep/", {"hours": "4"}, follow=True)
        self.assertRedirects(answer, "/workers/")
        self.assertContains(answer, "box will be kept up until <time")
        request = open_requests().get()
        assert request.actor == WHO
        assert request.parameters["until"] >= (before + timedelta(hours=4)).isoformat()
        event = JobEvent.objects.get(kind="asked")
        assert (event.actor, event.data["what"], event.data["hours"]) == (WHO, "keep", 4)
        self.client.post("/workers/box/keep/", {"hours": "0"})
        assert open_requests().get().parameters["until"] <= timezone.now().isoformat()

    def test_nonsense_is_refused(self) -> None:
        make_machine()
        make_machine("down", "stopped")
        for name, hours, text in (
            ("box", "", "The number of hours is missing"), ("box", "many", "The number of hours is missing"),
            ("box", "-1", "not possible"), ("box", "nan", "not possible"), ("box", "9999", "not possible"),
            ("down", "1", "there is nothing to keep up"), ("local", "1", "did not make"),
        ):  # fmt: skip
            self.assertContains(
                self.client.post(f"/workers/{name}/keep/", {"hours": hours}, follow=True), text
            )
        assert not WorkerRequest.objects.exists()
        assert self.client.post("/workers/nowhere/keep/", {"hours": "1"}).status_code == 404
        assert self.client.get("/workers/box/keep/").status_code == 405

    def test_from_a_job_one_comes_back_to_the_job(self) -> None:
        job = make_job(worker=make_machine())
        answer = self.client.post("/workers/box/keep/", {"hours": "1", "job": str(job.id)})
        self.assertRedirects(answer, f"/jobs/{job.id}/")
        for wrong in ("999", "x", "//evil.example"):
            answer = self.client.post("/workers/box/keep/", {"hours": "1", "job": wrong})
            self.assertRedirects(answer, "/workers/")

    def test_starting_records_the_request(self) -> None:
        price = price_of_machine(make_machine("down", "stopped"))
        asked = self.client.get("/workers/down/start/")
        self.assertContains(asked, f"It costs about {format_money(price.running, 'USD')} an hour")
        assert not open_requests().exists()
        self.assertContains(self.client.post("/workers/down/start/", follow=True), "Starting down.")
        assert open_requests().get().kind == "start"
        make_machine()
        self.assertContains(self.client.post("/workers/box/start/", follow=True), "no stopped machine")
        assert open_requests().count() == 1

    def test_a_terminal_offers_to_start_its_machine(self) -> None:
        row = make_machine("down", "stopped")
        job = at_work(row)
        told = self.client.get(f"/terminals/{job.id}/remedies/").json()
        assert told == {"resume": "", "start": f"/workers/down/start/?job={job.id}"}
        self.assertContains(self.client.get(told["start"]), f'name="job" value="{job.id}"')
        answer = self.client.post("/workers/down/start/", {"job": str(job.id)})
        self.assertRedirects(answer, f"/jobs/{job.id}/")
        Job.objects.update(state="interrupted")
        Worker.objects.update(state="ready")
        told = self.client.get(f"/terminals/{job.id}/remedies/").json()
        assert told == {"resume": f"/jobs/{job.id}/resume/", "start": ""}

    def test_stopping_asks_first(self) -> None:
        make_machine()
        self.assertContains(self.client.get("/workers/box/stop/"), "No job is at work on it")
        assert not open_requests().exists()
        self.assertContains(self.client.post("/workers/box/stop/", follow=True), "Stopping box.")
        request = open_requests().get()
        assert (request.kind, request.parameters, request.actor) == ("stop", {"force": False}, WHO)

    def test_stopping_under_a_job_is_a_second_question(self) -> None:
        row = make_machine()
        job = at_work(row)
        self.assertContains(self.client.get("/workers/box/stop/"), job.session)
        answer = self.client.post("/workers/box/stop/")
        self.assertContains(answer, 'name="force" value="yes"', status_code=409)
        assert not open_requests().exists()
        self.client.post("/workers/box/stop/", {"force": "yes"})
        assert open_requests().get().parameters == {"force": True}

    def test_rebuilding_asks_with_the_price_and_once_more_under_a_job(self) -> None:
        row = make_machine()
        asked = self.client.get("/workers/box/rebuild/")
        price = format_money(price_of_machine(row).running, "USD")
        for text in (f"It costs about {price} an hour", "data disk is kept", ">Rebuild</button>"):
            self.assertContains(asked, text)
        job = at_work(row)  # since the question
        answer = self.client.post("/workers/box/rebuild/")
        self.assertContains(answer, job.session, status_code=409)
        assert not open_requests().exists()
        answer = self.client.post("/workers/box/rebuild/", {"force": "yes"}, follow=True)
        self.assertContains(answer, "Rebuilding box.")
        self.assertContains(answer, f"It is being rebuilt, requested by {WHO}.")
        self.assertNotContains(answer, "/workers/box/rebuild/")
        request = open_requests().get()
        assert (request.kind, request.parameters, request.actor) == ("rebuild", {"force": True}, WHO)
        again = self.client.post("/workers/box/rebuild/", {"force": "yes"}, follow=True)
        self.assertContains(again, "box is being rebuilt already.")

    def test_a_worker_that_cannot_be_added_is_refused_in_the_form(self) -> None:
        make_machine()
        for data, text in (
            ({"name": ""}, "This field is required."),
            ({"name": "Bad Name"}, "is not usable"),
            ({"name": "box"}, "There is already a worker called"),
            ({"name": "new", "host": "-oProxyCommand=x"}, "is not an address"),
            ({"name": "new", "host": "127.0.0.1:1"}, "127.0.0.1"),
        ):
            answer = self.client.post("/workers/add/", data)
            self.assertContains(answer, text, status_code=422)
            self.assertContains(answer, 'id="add-worker" open', status_code=422)
        assert not Worker.objects.filter(name="new").exists()

    def test_nobody_gets_in_without_a_login(self) -> None:
        make_machine()
        self.client.logout()
        assert self.client.post("/workers/add/", {"name": "new"}).status_code == 302
        for verb in ("keep", "start", "stop", "rebuild"):
            assert self.client.post(f"/workers/box/{verb}/", {"hours": "1"}).status_code in (302, 403)
        assert not WorkerRequest.objects.exists()


class OnTheJobsPage(PageTest):
    def test_a_job_says_what_it_has_cost(self) -> None:
        row = make_machine()
        job, price = at_work(row, minutes=60), price_of_machine(row)
        answer = self.client.get(f"/jobs/{job.id}/")
        self.assertContains(answer, "<dt>cost</dt>")
        self.assertContains(answer, format_money(price.running, "USD"))
        self.assertContains(answer, f"estimate, prices of {price.as_of}")
        free = make_job()
        self.assertNotContains(self.client.get(f"/jobs/{free.id}/"), "<dt>cost</dt>")

    def test_a_machine_that_stops_is_told_before_it_does(self) -> None:
        row = make_machine()
        job = make_job(worker=row)
        answer = self.client.get(f"/jobs/{job.id}/")
        self.assertContains(answer, 'class="stops tone-warn"')
        self.assertContains(answer, "Stops at <time")
        self.assertContains(answer, f'name="job" value="{job.id}"')
        self.assertContains(answer, f'data-live-workers="{row.id}"')
        gone = make_job(worker=row, removed_at=timezone.now())
        self.assertNotContains(self.client.get(f"/jobs/{gone.id}/"), "Stops at")

    def test_a_machine_at_work_is_no_news_until_its_time_is_up(self) -> None:
        busy: dict[str, Any] = {
            "at": stamp(0),
            "stops_at": None,
            "because": "a job is at work",
            "reasons": [],
        }
        row = make_machine(facts={"idle": busy, "deadline": stamp(600)})
        job = at_work(row)
        self.assertNotContains(self.client.get(f"/jobs/{job.id}/"), 'class="stops')
        Worker.objects.filter(id=row.id).update(facts={**row.facts, "deadline": stamp(15)})
        answer = self.client.get(f"/jobs/{job.id}/")
        self.assertContains(answer, "Its longest run time ends at <time")
        self.assertNotContains(answer, "up for</span>")  # nothing that is kept outlasts that


class PoolTests(TransactionTestCase):
    def setUp(self) -> None:
        self.client.force_login(local_user())

    def test_a_pool_says_its_members_its_slots_and_why_its_jobs_wait(self) -> None:
        pool = Pool.objects.create(
            name="big", provider="gce-cos", minimum=1, warm=2, maximum=4, price=0.39, ceiling=2.5
        )
        gib = 1 << 30
        fact = {
            "cores": 2, "load": 1.9, "memory": 8 * gib, "free": 6 * gib, "at": stamp(-1),
            "disk": 100 * gib, "disk_free": 2 * gib,
        }  # fmt: skip
        box = make_worker("big-1", provider="ssh", pool=pool, facts={"capacity": fact})
        make_job(worker=box, state="running", pool=pool)
        waiting = make_job(worker=box, state="queued", pool=pool, number=77)
        note_waiting([waiting.id], "<b>1 jobs are at work")
        answer = self.client.get("/workers/")
        for text in (
            "1 worker; 1 to 4, made when jobs wait", "2 kept up without a job", "1 of 4 slots used",
            "0.39 USD an hour each; all together at most 2.50 USD", "acme/tinycart #77 review",
            "Waiting for a free slot on the worker. &lt;b&gt;1 jobs are at work",
            "1.9 on 2 cores", "6.0 of 8.0 GiB free", "2.0 of 100.0 GiB free", "fleet pool big --max 4",
        ):  # fmt: skip
            self.assertContains(answer, text)
        # A queued job of a pool has no worker yet.
        self.assertNotContains(answer, f'id="on-{waiting.id}"')
        # Load and disk are at their end, memory is not.
        figures = LoadView.of(box, []).figures
        self.assertEqual([one.name for one in figures if one.is_high], ["load", "disk"])
        self.assertContains(answer, "(little left)")
        Pool.objects.update(provider="")
        self.assertContains(self.client.get("/workers/"), "fleet pool big --add WORKER")
