"""The pages: what they show, what they write."""

import json
import re
from dataclasses import replace
from pathlib import Path

from asgiref.sync import async_to_sync
from django.conf import settings
from django.test import TransactionTestCase
from django.utils import timezone

from jobs import invocation
from jobs.models import Dismissal, Job, JobEvent, Pool, PullRequest, Repository, Worker, WorkerRequest
from jobs.states import Attention, JobState, TaskState, Verdict
from jobs.transitions import set_attention
from jobs.workers.requests import finish_request
from offload_web.login import local_user
from tests.support.factories import make_job, make_repository, make_task, make_worker


class PageTests(TransactionTestCase):
    def setUp(self) -> None:
        self.client.force_login(local_user())

    def archived(self, job: Job, task: str, log: bytes) -> None:
        path = Path(settings.OFFLOAD.archive) / str(job.id) / "tasks" / f"{task}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(log)
        Job.objects.filter(id=job.id).update(archived_at=timezone.now())

    def test_an_empty_list_teaches_the_command(self) -> None:
        answer = self.client.get("/")
        self.assertContains(answer, invocation.command("123 review"))
        self.assertContains(answer, '<details class="launch card" id="new-job" open>')

    def test_the_list_says_everything_in_words(self) -> None:
        make_job(
            verdict=Verdict.FAIL, title="<b>Stack</b> discounts", moved_to="9" * 40, number=7,
            findings=[{"severity": "error", "message": "Tests fail on the head."}],
        )  # fmt: skip
        answer = self.client.get("/")
        for text in ("Ready to act", "#7", "&lt;b&gt;Stack", "acme/tinycart", "fail",
                     "The head has moved to 9999999999", "Tests fail on the head."):  # fmt: skip
            self.assertContains(answer, text)

    def test_rows_are_done_snoozed_and_moved_back_by_forms(self) -> None:
        job = make_job(verdict=Verdict.PASS, number=7)
        pull = PullRequest.objects.create(
            repository=job.repository, number=9, title="<i>New</i>", author="ada"
        )
        page = self.client.get("/")
        self.assertContains(page, "&lt;i&gt;New")
        key, seen = f"{job.repository_id}:#7", page.context["inbox"].seen
        data = {"seen": seen, "query": "?group=ready&q=a%26b&x=//evil.example"}
        answer = self.client.post("/inbox/", data | {"done": key})
        self.assertRedirects(answer, "/?q=a%26b&group=ready", fetch_redirect_response=False)
        self.assertContains(self.client.get("/?group=done"), f'name="restore" value="{key}"')
        # With `selected`, the rows are those whose boxes are ticked; odd keys name none.
        rows = [key, f"{pull.repository_id}:#9", "x", "9" * 30 + ":#1", "99:#7"]
        for word, count in (("snooze", "2"), ("restore", "2"), ("restore", "0")):
            form = data | {word: "selected", "row": rows if count == "2" else []}
            answer = self.client.post("/inbox/", form, headers={"HX-Request": "true"})
            assert (answer.status_code, answer["X-Count"]) == (204, count)
        assert not Dismissal.objects.exists()
        assert Job.objects.get().state == JobState.SUCCEEDED
        for bad in ({"seen": "x", "done": key}, {"seen": seen}):
            assert self.client.post("/inbox/", bad).status_code == 400

    def test_selected_pull_requests_are_reviewed(self) -> None:
        repository = make_repository("demo", url="/srv/demo.git")
        strange = make_repository("acme/tinycart")
        keys = [
            f"{repository.id}:#4",
            f"{repository.id}:#5",
            f"{strange.id}:#6",
            f"{repository.id}:main",
            "x",
        ]
        answer = self.client.post("/inbox/review/", {"row": keys}, headers={"HX-Request": "true"})
        self.assertContains(answer, "2 reviews submitted.", status_code=409)
        self.assertContains(answer, "acme/tinycart.git is not trusted yet", status_code=409)
        assert sorted(Job.objects.values_list("target", "action")) == [("#4", "review"), ("#5", "review")]
        answer = self.client.post("/inbox/review/", {"row": keys[:2]}, follow=True)
        self.assertContains(answer, "0 reviews submitted.")

    def test_a_job_is_run_again(self) -> None:
        ended = make_job(verdict=Verdict.PASS, options={"agent": "gemini", "placement": "why"})
        self.assertContains(self.client.get(f"/jobs/{ended.id}/"), "Run again")
        self.client.post(f"/jobs/{ended.id}/again/")
        assert WorkerRequest.objects.get().parameters == {"force": False, "again": True}
        self.assertNotContains(self.client.get(f"/jobs/{ended.id}/"), "Run again")
        page = self.client.get("/")
        self.assertContains(page, "Starts again when its files are removed.")
        self.assertNotContains(page, f"/jobs/{ended.id}/again/")
        lost = make_job(state=JobState.INTERRUPTED)
        self.assertRedirects(self.client.post(f"/jobs/{lost.id}/again/"), "/")
        busy = {"HX-Request": "true"}
        answer = self.client.post(f"/jobs/{lost.id}/again/", headers=busy)
        self.assertContains(answer, "is queued", status_code=409)
        Job.objects.filter(id=ended.id).update(removed_at=timezone.now())
        self.client.post(f"/jobs/{ended.id}/again/")
        again = Job.objects.get(target=ended.target, removed_at=None)
        assert (again.options["agent"], again.action, again.ref) == ("gemini", "review", ended.ref)

    def test_an_update_has_only_the_rows_that_changed(self) -> None:
        changing, _ = make_job(state=JobState.RUNNING, number=7), make_job(verdict=Verdict.PASS, number=8)
        page = self.client.get("/").content.decode()
        known = {"Offload-Rows": ",".join(re.findall('data-version="([0-9a-f]+)"', page))}
        assert self.client.get("/live/", headers=known).content.decode().count(" data-same></li>") == 2
        set_attention(changing.id, Attention.INPUT)
        update = self.client.get("/live/", headers=known).content.decode()
        assert re.findall('id="(row[^"]*)" data-same></li>', update) == [
            f"row-{changing.repository_id}-pull-8"
        ]
        assert "Waits for your input" in update
        assert (
            "data-same"
            not in self.client.get("/live/", headers={"Offload-Rows": "x," * 2000}).content.decode()
        )

    def test_the_button_of_a_row_reviews_its_pull_request(self) -> None:
        repository = make_repository("demo", url="/srv/demo.git")
        PullRequest.objects.create(repository=repository, number=9, title="New")
        key = f"{repository.id}:#9"
        self.assertContains(self.client.get("/"), f'name="pull" value="{key}"')
        answer = self.client.post("/jobs/new/", {"pull": key})
        self.assertRedirects(answer, f"/jobs/{Job.objects.get(target='#9', action='review').id}/")
        assert self.client.post("/jobs/new/", {"pull": "77:#9"}).status_code == 404

    def test_the_live_part_is_the_list_alone(self) -> None:
        make_job(state=JobState.RUNNING)
        answer = self.client.get("/live/")
        self.assertContains(answer, 'id="h-running"')
        self.assertNotContains(answer, "<html")

    def test_the_job_page_shows_the_evidence(self) -> None:
        job = make_job(
            verdict=Verdict.FAIL, number=9, assessment="# Review\n\n<script>x</script>",
            tasks=[make_task("build"), make_task("test", TaskState.FAILED, needs=["build"], tail="1 failed")],
            findings=[{"severity": "error", "task": "test", "message": "Broken.", "file": "a.py", "line": 3}],
        )  # fmt: skip
        answer = self.client.get(f"/jobs/{job.id}/")
        for text in ("run-test", "after Build", "1 failed", "Broken.", "a.py:3", "<h1>Review</h1>",
                     "manage.py offload 9 review --repo acme/tinycart", f"/terminals/{job.id}/",
                     f"attach -t ={job.session}"):  # fmt: skip
            self.assertContains(answer, text)
        self.assertNotContains(answer, "<script>x")
        self.assertNotContains(self.client.get(f"/jobs/{job.id}/live/"), "<html")

    def test_the_job_page_names_tests_and_what_is_not_proven(self) -> None:
        finding = {"severity": "error", "message": "<b>t1</b> fails.", "file": "a.py", "line": 3}
        job = make_job(
            verdict=Verdict.FAIL, number=7, archived_at=timezone.now(),
            findings=[{"severity": "note", "message": "n"}, finding, finding],
        )  # fmt: skip
        older = make_job(state=JobState.CANCELLED, number=7, action="fix")
        found = {
            "tests": {"test": {
                "broken": [{"name": "<b>t1</b>", "message": "assert 1\nmore"}], "fixed": [{"name": "t2"}],
            }},
            "proof": {"files": [{"path": "t.py", "result": "proves_nothing"}]},
            "hunks": {"hunks": [{"path": "a.py", "first": 3, "last": 4, "result": "uncovered"}]},
            "not_checked": ["<script>"],
        }  # fmt: skip
        path = Path(settings.OFFLOAD.archive) / str(job.id) / "assessment.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))
        page = self.client.get(f"/jobs/{job.id}/")
        for text in (
            "<p>&lt;b&gt;t1&lt;/b&gt; fails. And 1 more.</p>", "Tests broken by this change",
            "assert 1</span>", "t2",
            "passes on both: proves nothing about this change", "a.py:3-4", "&lt;script&gt;",
            f'href="/jobs/{job.id}/diff/?finding=1#finding-1"',
            f'href="/jobs/{older.id}/"', "Other jobs of #7",
        ):  # fmt: skip
            self.assertContains(page, text)
        for bad in ('{"tests": {"test": {"broken": "x"}}}', "[" * 9000, "null"):
            path.write_text(bad)
            self.assertNotContains(self.client.get(f"/jobs/{job.id}/"), 'id="h-evidence"')

    def test_a_job_of_a_worker_out_of_reach_is_not_said_to_run(self) -> None:
        task = make_task("build", TaskState.RUNNING, started_at="2026-01-01T00:00:00Z")
        worker = make_worker("far", state="unreachable", state_detail="Connection refused.")
        job = make_job(state=JobState.RUNNING, tasks=[task], worker=worker, number=7)
        for path in ("/", f"/jobs/{job.id}/"):
            page = self.client.get(path)
            self.assertContains(page, "far is not reachable. Last seen: Build")
            self.assertNotContains(page, "data-since")
            self.assertNotContains(page, "icon-spin")
        self.assertContains(page, "Connection refused.")

    def test_an_unknown_job_is_not_found(self) -> None:
        for path in ("/jobs/999/", "/jobs/999/live/", "/jobs/999/diff/", "/jobs/999/logs/x/"):
            assert self.client.get(path).status_code == 404, path

    def test_launching_submits_a_job(self) -> None:
        repository = make_repository("demo", url="/srv/demo.git")
        answer = self.client.post(
            "/jobs/new/", {"target": "#12", "repository": "demo", "action": "review", "name": "again",
             "prompt": "the tax"},
        )  # fmt: skip
        job = Job.objects.get()
        assert job.options["prompt"] == "the tax"
        self.assertRedirects(answer, f"/jobs/{job.id}/")
        assert (job.state, job.number, job.name, job.repository_id) == ("queued", 12, "again", repository.id)
        assert JobEvent.objects.get(kind="submitted").actor == "local (dashboard)"
        again = self.client.post(
            "/jobs/new/", {"target": "12", "repository": "demo", "action": "review", "name": "again"},
            headers={"HX-Request": "true"},
        )  # fmt: skip
        assert (again.status_code, again["HX-Redirect"]) == (204, f"/jobs/{job.id}/")
        assert Job.objects.count() == 1

    def test_choices_tell_load_and_price(self) -> None:
        spec = {"machine_type": "n2-standard-8", "data_disk_gb": 200}
        config = {"project": "p", "zones": ["us-central1-a"], "owner": "me", "spec": spec}
        at = timezone.now().isoformat()
        facts = {"capacity": {"cores": 2, "load": 0.4, "memory": 8 * 2**30, "free": 4 * 2**30, "at": at}}
        pool = Pool.objects.create(name="lab", provider="gce-cos", maximum=2, price=0.4)
        box = make_worker("box", provider="gce-cos", config=config, facts=facts, pool=pool)
        make_worker("odd", provider="gce-cos", config={"spec": {"machine_type": "?"}})
        job = make_job(worker=box, state=JobState.RUNNING, options={"agent": "gemini"})
        make_job(worker=box, state=JobState.QUEUED)
        for job_id, calls in ((job.id, ((30_000, 2_000), (9_000, 1_000))), (make_job().id, ((1, 1),))):
            for read, written in calls:
                data = {"input": read, "output": written, "dollars": 0.2}
                JobEvent.objects.create(job_id=job_id, kind="model_call", data=data)
        told = self.client.get("/jobs/new/choices/").json()
        assert told["worker"]["box"] == (
            "box: ready, 3 of 4 slots free, 1 waiting, load 0.4 on 2 cores, about 0.43 USD an hour"
        )
        assert told["worker"]["odd"] == "odd: ready, 2 of 2 slots free"
        assert told["worker"]["pool:lab"] == (
            "any worker of lab: 3 of 4 slots free, about 0.40 USD an hour for each machine"
        )
        assert told["agent"]["gemini"] == (
            "gemini: 1 job at work, about 42k tokens a job, about 0.40 USD a job"
        )
        assert told["agent"]["claude"] == "claude"

    def test_an_error_is_shown_next_to_its_field(self) -> None:
        make_repository("demo", url="/srv/demo.git")
        for given, text in (
            ({"target": ""}, "This field is required."),
            ({"target": "rm"}, "is not a target"),
            ({"target": "1", "action": "explode"}, "Select a valid choice"),
            ({"target": "1", "name": "a;b"}, "is not usable"),
            ({"target": "1", "worker": "nowhere"}, "Select a valid choice"),
        ):
            data = {"repository": "demo", "action": "review"} | given
            answer = self.client.post("/jobs/new/", data, headers={"HX-Request": "true"})
            self.assertContains(answer, text, status_code=422)
        assert not Job.objects.exists()

    def test_trust_is_asked_once(self) -> None:
        data = {"target": "1", "repository": "https://forge.invalid/x/y.git", "action": "review"}
        answer = self.client.post("/jobs/new/", data)
        self.assertContains(answer, "I trust this repository", status_code=422)
        assert not Job.objects.exists()
        assert self.client.post("/jobs/new/", data | {"trust": "on"}).status_code == 302
        assert Repository.objects.get().trusted_by == "local (dashboard)"
        assert self.client.post("/jobs/new/", data | {"target": "2"}).status_code == 302

    def test_a_jobs_page_says_why_it_is_on_its_worker(self) -> None:
        why = "Without a container, because no container engine answers here."
        job = make_job(options={"placement": why})
        self.assertContains(self.client.get(f"/jobs/{job.id}/"), f"<dt>placement</dt><dd>{why}</dd>")

    def test_a_jobs_page_says_what_isolates_it(self) -> None:
        job = make_job()
        for container, said in (
            (None, "Not isolated: the job&#x27;s code runs as the user of"),
            ({"image": "x"}, "in a container that its jobs share"),
            ({"isolation": "job"}, "in a container of its own"),
        ):
            Worker.objects.filter(id=job.worker_id).update(config={"container": container})
            page = self.client.get(f"/jobs/{job.id}/")
            self.assertContains(page, said)
            self.assertNotContains(page, "The agent")
        Job.objects.filter(id=job.id).update(options={"agent": "generic", "agent_secrets": ["MODEL_KEY"]})
        self.assertContains(self.client.get(f"/jobs/{job.id}/"), "The agent generic held MODEL_KEY: ")
        tasks = [{"id": "agent", "name": "review", "role": "agent", "state": "running", "reason": ""}]
        Job.objects.filter(id=job.id).update(tasks=tasks, state=JobState.RUNNING)
        does = {"task": "agent", "state": "tool", "detail": "Read", "since": "2026-11-27T12:00:00Z"}
        JobEvent.objects.create(job=job, seq=9, at=timezone.now(), kind="agent_state", data=does)
        self.assertContains(self.client.get(f"/jobs/{job.id}/"), "generic: tool (Read), <time")
        limit = {"task": "agent", "api": "gemini", "status": 429, "until": "2026-11-27T12:00:00Z"}
        JobEvent.objects.create(job=job, at=timezone.now(), kind="model_limit", data=limit)
        met = "agent met a limit of gemini (status 429), until 2026-11-27T12:00:00Z"
        self.assertContains(self.client.get(f"/jobs/{job.id}/"), met)

    def test_a_waiting_job_can_be_trusted_on_its_page(self) -> None:
        job = make_job(state=JobState.QUEUED, attention="approval")
        self.assertContains(self.client.get(f"/jobs/{job.id}/"), "Do you trust everyone")
        self.client.post(f"/jobs/{job.id}/trust/")
        job.refresh_from_db()
        assert job.attention == ""
        assert Repository.objects.get().trusted_at is not None

    def test_cancelling_and_resuming_change_the_state(self) -> None:
        job = make_job(state=JobState.RUNNING)
        self.client.post(f"/jobs/{job.id}/cancel/")
        assert Job.objects.get().state == JobState.CANCELLING
        lost = make_job(state=JobState.INTERRUPTED)
        self.client.post(f"/jobs/{lost.id}/resume/")
        assert Job.objects.get(id=lost.id).state == JobState.QUEUED

    def test_refusals_are_shown(self) -> None:
        job = make_job(verdict=Verdict.PASS)
        answer = self.client.post(f"/jobs/{job.id}/cancel/", follow=True)
        self.assertContains(answer, "cannot be cancelled")
        answer = self.client.post(f"/jobs/{job.id}/resume/", follow=True)
        self.assertContains(answer, "nothing to resume")

    def test_removing_a_job_at_work_is_refused_and_force_offered(self) -> None:
        job = make_job(state=JobState.RUNNING)
        self.assertContains(self.client.get(f"/jobs/{job.id}/remove/"), "are deleted on the worker")
        assert self.client.get(f"/jobs/{job.id}/cancel/").status_code == 405
        answer = self.client.post(f"/jobs/{job.id}/remove/")
        self.assertContains(answer, 'name="force" value="yes"', status_code=409)
        assert Job.objects.get().removed_at is None
        assert not WorkerRequest.objects.exists()

    def test_removing_is_requested_and_its_failure_offers_force(self) -> None:
        job = make_job(verdict=Verdict.PASS)
        answer = self.client.post(f"/jobs/{job.id}/remove/", follow=True)
        self.assertContains(answer, "Removing… requested by local (dashboard).")
        request = WorkerRequest.objects.get()
        assert (request.job_id, request.parameters) == (job.id, {"force": False})
        finish_request(request.id, "1 commit exists nowhere else.")
        answer = self.client.get(f"/jobs/{job.id}/")
        self.assertContains(answer, "Removing it failed: 1 commit exists nowhere else.")
        self.client.post(f"/jobs/{job.id}/remove/", {"force": "yes"})
        assert WorkerRequest.objects.latest("id").parameters == {"force": True}

    def test_an_unknown_page_has_the_header(self) -> None:
        for path in ("/nope/", "/jobs/999/"):
            answer = self.client.get(path)
            self.assertContains(answer, 'aria-label="Main"', status_code=404)

    def log(self, data: bytes) -> str:
        job = make_job(verdict=Verdict.PASS, tasks=[make_task("test")])
        self.archived(job, "test", data)
        return f"/jobs/{job.id}/logs/test/"

    def test_parts_of_a_log_join_in_both_directions(self) -> None:
        data = b"\x1b[31m<red>\x1b[0m\n" + b"".join(b"line %d\n" % n for n in range(2, 40_000)) + b"the end"
        path = self.log(data)
        page = self.client.get(path)
        self.assertContains(page, '<span class="a-fg-red">&lt;red&gt;</span>')
        self.assertContains(page, 'id="L1000"')
        self.assertNotContains(page, 'id="L1001"')
        part = self.client.get(f"{path}part/?at=end")
        self.assertContains(part, 'id="L40000"')
        self.assertContains(part, "the end</span>")
        assert int(part["X-End"]) == len(data)
        seen = part.content.count(b'class="log-line"')
        while int(part["X-Start"]):
            before, line = part["X-Start"], part["X-Line"]
            part = self.client.get(f"{path}part/?before={before}&line={line}")
            assert (part["X-End"], part["X-Next-Line"]) == (before, line)
            seen += part.content.count(b'class="log-line"')
        assert (seen, part["X-Line"]) == (40_000, "1")
        for goto, first in ((1, "1"), (25_000, "25000"), (99_999, "40000")):
            part = self.client.get(f"{path}part/?goto={goto}")
            assert part["X-Line"] == first
        part = self.client.get(f"{path}part/?offset={part['X-End']}&line=7")
        assert part.content == b""
        raw = self.client.get(f"{path}raw/")
        assert raw.streaming  # a log of any size is not held in memory

        async def read_all() -> bytes:
            return b"".join([part async for part in raw])  # type: ignore[attr-defined]

        assert async_to_sync(read_all)() == data
        assert "attachment" in raw["Content-Disposition"]
        assert self.client.get(f"{path}part/?offset=-1").status_code == 200
        assert self.client.get(path.replace("test", "nope")).status_code == 404

    def test_a_line_without_an_end_is_shown_in_parts(self) -> None:
        path = self.log(b"x" * 400_000)
        part = self.client.get(f"{path}part/?offset=0")
        assert (part["X-Line"], part["X-Next-Line"]) == ("1", "1")
        assert 0 < int(part["X-End"]) < 400_000

    def test_searching_a_log_finds_lines_through_colours(self) -> None:
        data = b"one\n" * 300_000 + b"\x1b[1mTests \x1b[31mfailed\x1b[0m <b>\nFAILED tests/test_a.py\n"
        path = self.log(data)
        found = self.client.get(f"{path}search/?q=tests+FAILED").json()
        assert found["hits"] == [{"line": 300_001, "text": "Tests failed <b>"}]
        assert found["resume"] == -1
        assert self.client.get(f"{path}search/?failure=1").json()["hits"][0]["line"] == 300_002
        many = self.client.get(f"{path}search/?q=one").json()
        assert (len(many["hits"]), many["hits"][99]["line"]) == (100, 100)
        assert self.client.get(f"{path}search/?q=").json()["hits"] == []

    def test_a_diff_that_cannot_be_had_says_why(self) -> None:
        job = make_job(state=JobState.QUEUED)
        self.assertContains(self.client.get(f"/jobs/{job.id}/diff/"), "has no worktree yet")

    def test_the_settings_name_their_layer_and_are_checked(self) -> None:
        values = dict(settings.OFFLOAD.values) | {"database_url": "postgres://me:pa55@db/x"}
        sources = dict(settings.OFFLOAD.sources) | {"database_url": "OFFLOAD_DATABASE_URL"}
        with self.settings(OFFLOAD=replace(settings.OFFLOAD, values=values, sources=sources)):
            page = self.client.get("/settings/")
        self.assertContains(page, "<td>OFFLOAD_DATABASE_URL</td>")
        self.assertNotContains(page, "pa55")
        assert self.client.get("/settings/check/").status_code == 405
        for headers in ({}, {"HX-Request": "true"}):
            checks = self.client.post("/settings/check/", headers=headers)
            self.assertContains(checks, "<strong>database</strong>")
            assert ("<h1" in checks.content.decode()) != bool(headers)

    def test_workers_show_what_was_seen(self) -> None:
        self.assertContains(self.client.get("/workers/"), "This machine.")
