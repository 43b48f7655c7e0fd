"""The HTTP API on a real server: access, the answers, the errors."""

import html
import re

import httpx
import pytest

from jobs.serializers import SCHEMA
from tests.jobs.api.conftest import Served
from tests.support.dashboard import until


def error_of(answer: httpx.Response, status: int) -> dict[str, object]:
    """The error object of an answer that has this status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert told["schema"] == SCHEMA
    assert set(told["error"]) == {"code", "message", "hint", "retryable"}
    return dict(told["error"])


def test_the_objects_are_those_of_the_command_line(served: Served) -> None:
    with served.client("read") as client:
        one = client.get(f"/jobs/{served.job}").json()
        printed = served.cli.json("offload", "ls")
        assert one["schema"] == printed["schema"]
        assert one["job"] in printed["jobs"]
        assert client.get("/jobs").json()["jobs"] == sorted(printed["jobs"], key=lambda job: -job["id"])
        drafts = served.cli.json("offload", "outbox", "ls")
        assert client.get("/outbox").json() == drafts
        assert client.get(f"/outbox/{drafts['drafts'][0]['id']}").json()["draft"] == drafts["drafts"][0]
        workers = client.get("/workers").json()["workers"]
        assert [worker["name"] for worker in workers] == ["local"]
        assert client.get("/workers/local").json()["worker"] == workers[0]


def test_jobs_are_filtered_and_paged(served: Served) -> None:
    with served.client("read") as client:

        def numbers(**query: object) -> list[int]:
            answer = client.get("/jobs", params=query)  # type: ignore[arg-type]
            return [job["number"] for job in answer.json()["jobs"]]

        assert numbers(repository="tinycart") == [10, 9]
        assert numbers(state="succeeded", repository="tinycart") == numbers(verdict="pass") == [9]
        assert numbers(state=["succeeded", "failed"], repository="tinycart") == [10, 9]
        assert numbers(action="ready", worker="local") == [10]
        assert numbers(repository="acme/other") == []
        assert numbers(removed=True, repository="tinycart") == [9]
        first = client.get("/jobs?limit=1&repository=tinycart").json()
        assert numbers(limit=1, before=first["next"]) == [9]
        assert client.get(f"/jobs?before={first['next']}").json()["next"] is None


def test_what_a_job_leaves_behind(served: Served) -> None:
    with served.client("read") as client:
        log = client.get(f"/jobs/{served.job}/tasks/test/log", params={"offset": 2, "limit": 3})
        assert (log.content, log.headers["offload-next-offset"]) == (b"e\nt", "5")
        assert log.headers["content-type"].startswith("text/plain")
        assert log.headers["x-content-type-options"] == "nosniff"
        assert client.get(f"/jobs/{served.job}/tasks/test/log?offset=99").content == b""
        assert client.get(f"/jobs/{served.job}/assessment").text == "# Fine"
        events = client.get(f"/jobs/{served.job}/events").json()
        assert [event["kind"] for event in events["events"]] == ["submitted"]
        after = events["events"][-1]["id"]
        assert client.get(f"/jobs/{served.job}/events?after={after}").json()["events"] == []
        pulls = client.get("/pulls?repository=tinycart").json()
        assert [(pull["number"], pull["title"]) for pull in pulls["pull_requests"]] == [(9, "Fix")]


def test_a_job_is_submitted_cancelled_and_removed(served: Served) -> None:
    with served.client("launch") as client, served.client("read") as reader:
        body = {"target": "3", "repository": "shop", "base": "main"}
        made = client.post("/jobs", json=body)
        assert made.status_code == 201, made.text
        job = made.json()["job"]["id"]

        def state() -> str:
            return str(reader.get(f"/jobs/{job}").json()["job"]["state"])

        again = client.post("/jobs", json=body)
        assert (again.status_code, again.json()["job"]["id"]) == (200, job)
        other = error_of(client.post("/jobs", json={**body, "prompt": "Be kind"}), 409)
        assert "another prompt" in str(other["message"])
        until(lambda: state() == "running", "the job to run")
        assert "Cancel it first" in str(error_of(client.delete(f"/jobs/{job}"), 409)["hint"])
        assert client.post(f"/jobs/{job}/cancel").status_code == 202
        until(lambda: state() == "cancelled", "the job's end")
        assert client.delete(f"/jobs/{job}?force=true").status_code == 202
        until(lambda: reader.get(f"/jobs/{job}").json()["job"]["removed_at"], "the removal")
        events = reader.get(f"/jobs/{job}/events?limit=100").json()["events"]
        assert "launch (API)" in {event["actor"] for event in events}


def test_what_may_not_be_submitted(served: Served) -> None:
    with served.client("launch") as client:

        def refused(status: int, **body: str) -> str:
            return str(error_of(client.post("/jobs", json={"target": "1", **body}), status)["message"])

        assert "not trusted yet" in refused(409, repository="https://forge.invalid/a/b")
        for path in (served.dashboard.home, "/no/such/directory", "./x"):
            assert "is a directory of the server" in refused(409, repository=str(path))
        assert "no repository was named" in refused(400).lower()
        assert "is not a repository" in refused(400, repository="shop2")
        assert "is an issue" in refused(400, target="https://github.com/a/b/issues/1")
        assert "target" in str(error_of(client.post("/jobs", json={}), 422)["message"])
        assert error_of(client.post("/jobs", content=b"{"), 422)["code"] == "invalid"
        assert error_of(client.post("/workers/local/stop"), 403)["code"] == "not_allowed"
    with served.client("admin") as client:
        assert error_of(client.post("/workers/local/stop"), 409)["code"] == "refused"
        assert error_of(client.post("/workers/none/start"), 404)["code"] == "not_found"


def test_errors_say_what_failed(served: Served) -> None:
    with served.client("read") as client:
        assert error_of(client.get("/jobs/99999"), 404)["message"] == "There is no job 99999."
        assert "Its tasks: test." in str(error_of(client.get(f"/jobs/{served.job}/tasks/x/log"), 404)["hint"])
        invalid = error_of(client.get("/jobs?limit=0&state=odd"), 422)
        assert "limit" in str(invalid["message"])
        assert "state" in str(invalid["message"])
        assert error_of(client.get("/nothing"), 404)["code"] == "not_found"
        assert error_of(client.get("/"), 404)["code"] == "not_found"
        wrong = client.put("/jobs", headers={"content-length": "0"})
        assert error_of(wrong, 405)["code"] == "method"
        assert "GET" in wrong.headers["allow"]
        assert error_of(client.get("/pulls?repository=other/nothing"), 404)["code"] == "not_found"


def test_only_a_token_with_the_scope_reads(served: Served) -> None:
    with served.client() as stranger:
        for address in ("/jobs", f"/jobs/{served.job}", "/workers", "/outbox", "/pulls?repository=x"):
            refused = stranger.get(address)
            assert error_of(refused, 401)["code"] == "not_authenticated"
            assert refused.headers["www-authenticate"].startswith("Bearer")
            assert stranger.get(address, headers={"authorization": "Bearer wrong"}).status_code == 401
        assert stranger.get("/openapi.json").status_code == 200
        for address in ("/jobs", f"/jobs/{served.job}/cancel", "/workers/local/stop", "/outbox/1/send"):
            assert error_of(stranger.post(address), 401)["code"] == "not_authenticated"
    with served.client("read") as client:
        assert error_of(client.delete(f"/jobs/{served.job}"), 403)["code"] == "not_allowed"
        assert error_of(client.post("/outbox/1/send", json={}), 403)["code"] == "not_allowed"
    with served.client("launch") as client:
        assert "scope read" in str(error_of(client.get("/jobs"), 403)["message"])


def test_a_token_ends_when_it_is_revoked_or_expires(served: Served) -> None:
    headers = {"authorization": f"Bearer {served.add_token('short')}"}
    with served.client() as client:
        assert client.get("/jobs", headers=headers).status_code == 200
        rows = served.cli.json("offload", "token", "ls")["tokens"]
        row = next(row for row in rows if row["name"] == "short")
        assert row["scopes"] == ["read"]
        assert row["used_at"] is not None
        served.dashboard.python(
            "from jobs.models import ApiToken\nfrom django.utils import timezone\n"
            "ApiToken.objects.filter(name='short').update(expires_at=timezone.now())\n"
        )
        assert client.get("/jobs", headers=headers).status_code == 401
        served.cli.run("offload", "token", "rm", "short")
        headers = {"authorization": f"Bearer {served.add_token('short')}"}
        assert client.get("/jobs", headers=headers).status_code == 200
        served.cli.run("offload", "token", "rm", "short")
        assert client.get("/jobs", headers=headers).status_code == 401
    kept = served.dashboard.home.rglob("*.sqlite3*")
    assert not any(headers["authorization"][7:].encode() in path.read_bytes() for path in kept)


def test_a_login_writes_only_with_the_csrf_token(served: Served) -> None:
    with served.client() as client:
        page = client.get(served.dashboard.link(), follow_redirects=True)
        cancel = f"/jobs/{served.job}/cancel"
        assert "CSRF" in str(error_of(client.post(cancel), 403)["message"])
        assert "CSRF" in str(error_of(client.post(cancel, headers={"x-csrftoken": "x" * 64}), 403)["message"])
        found = re.search(r'"X-CSRFToken": "(\w+)"', html.unescape(page.text))
        assert found is not None
        # It reaches the operation, which refuses to cancel a job that has ended.
        assert error_of(client.post(cancel, headers={"x-csrftoken": found[1]}), 409)["code"] == "refused"
        assert client.get("/jobs").status_code == 200
        # A token that is not valid is not replaced by the login.
        assert client.get("/jobs", headers={"authorization": "Bearer wrong"}).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"host": "evil.example"}, 400), ({"origin": "http://evil.example"}, 403)],
)
def test_the_rules_of_the_dashboard_hold(served: Served, headers: dict[str, str], status: int) -> None:
    with served.client("launch") as client:
        error_of(client.post("/jobs", json={}, headers=headers), status)
        large = client.post("/jobs", content=b"x" * 70_000, headers={"content-type": "application/json"})
        error_of(large, 413)
