"""What a token may request of machines and jobs: the same rows as the dashboard's buttons write."""

from typing import Any

from asgiref.sync import async_to_sync
from django.test import Client, TransactionTestCase

from jobs.models import Job, JobEvent, WorkerRequest
from jobs.operations import add_token
from tests.jobs.web.test_worker_pages import make_machine
from tests.support.factories import make_job


class RequestTests(TransactionTestCase):
    def setUp(self) -> None:
        _, token = async_to_sync(add_token)("ops", ["read", "launch", "admin"], "ada")
        self.api = Client(headers={"authorization": f"Bearer {token}", "host": "127.0.0.1"})

    def post(self, path: str, status: int, body: dict[str, Any] | None = None) -> Any:
        answer = self.api.post(f"/api/v1{path}", body or {}, content_type="application/json")
        self.assertEqual(answer.status_code, status, answer.content)
        return answer.json()

    def test_machines_are_started_kept_and_stopped(self) -> None:
        worker = make_machine("box", state="stopped")
        assert self.post("/workers/box/start", 202)["worker"]["state"] == "stopped"
        make_machine("up")
        self.post("/workers/up/keep", 202, {"hours": 2})
        for hours in (-1, 10_000, "many", None):
            self.post("/workers/up/keep", 422, {"hours": hours})
        busy = make_job(worker=make_machine("busy"), state="running")
        assert busy.session in self.post("/workers/busy/stop", 409)["error"]["message"]
        self.post("/workers/busy/stop?force=true", 202)
        written = WorkerRequest.objects.values_list("worker__name", "kind", "actor", "parameters__force")
        assert set(written) == {
            ("box", "start", "ops (API)", None),
            ("up", "keep", "ops (API)", None),
            ("busy", "stop", "ops (API)", True),
        }
        assert worker.name in {one["name"] for one in self.api.get("/api/v1/workers").json()["workers"]}

    def test_an_interrupted_job_is_resumed(self) -> None:
        job = make_job(state="interrupted")
        assert self.post(f"/jobs/{job.id}/resume", 202)["job"]["state"] == "queued"
        assert JobEvent.objects.filter(job=job).latest("id").actor == "ops (API)"
        done = make_job(state="succeeded")
        assert "cannot be resumed" in self.post(f"/jobs/{done.id}/resume", 409)["error"]["message"]
        assert Job.objects.get(id=done.id).state == "succeeded"
