"""What every forge's client must do, against each forge's strict fake over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from jobs.errors import ForgeLimited, ForgeUnreachable, NotConfigured, NotFound, OffloadError
from jobs.forges import registry
from jobs.forges.ci_log import distil
from jobs.forges.pulls import Api, ForgeClient
from tests.support import github as hub
from tests.support import gitlab as lab

SLUG = "acme/shop"
OTHER = "9" * 40


class OnGitHub:
    """The same pull requests, in GitHub's words."""

    kind, token, sha = "github", hub.TOKEN, hub.SHA

    def __init__(self, server: hub.GitHub) -> None:
        self.server: Any = server

    @property
    def api(self) -> str:
        return str(self.server.url)

    def add_plain(self, number: int, **values: Any) -> None:
        self.server.add(number, **values)

    def add_blocked(self, number: int) -> None:
        suite = {"app": {"slug": "github-actions"}, "workflowRun": {"workflow": {"name": "test"}}}
        check = {
            "__typename": "CheckRun", "name": "unit", "status": "COMPLETED", "conclusion": "FAILURE",
            "detailsUrl": "javascript:alert(1)", "required": True, "databaseId": 41, "checkSuite": suite,
        }  # fmt: skip
        other = {
            "__typename": "StatusContext", "context": "deploy", "state": "PENDING", "targetUrl": None,
            "required": False,
        }  # fmt: skip
        thread = {"path": "app.txt", "line": 2, "body": "Why?"}
        self.server.add(
            number, isDraft=True, mergeable="CONFLICTING", labels=["bug", "<b>"], checks=[check, other],
            threads=[
                thread | {"id": f"T{n}", "isResolved": n > 150, "isOutdated": n == 1} for n in range(1, 203)
            ],
            reviewDecision="CHANGES_REQUESTED", opinions=[("eve", "CHANGES_REQUESTED", OTHER)],
            rule={
                "requiredApprovingReviewCount": 2, "requiredStatusCheckContexts": ["unit"],
                "requiresCodeOwnerReviews": False, "requiresConversationResolution": True,
            },
        )  # fmt: skip

    def add_log(self, number: int, log: bytes) -> None:
        self.server.logs[number] = ([], log)


class OnGitLab:
    """The same in GitLab's."""

    kind, token, sha = "gitlab", lab.TOKEN, lab.SHA

    def __init__(self, server: lab.GitLab) -> None:
        self.server: Any = server

    @property
    def api(self) -> str:
        return str(self.server.url)

    def add_plain(self, number: int, **values: Any) -> None:
        self.server.add(number, **values)

    def add_blocked(self, number: int) -> None:
        job = {
            "id": 41, "name": "unit", "stage": "test", "status": "failed", "allow_failure": False,
            "web_url": "javascript:alert(1)",
        }  # fmt: skip
        other = {"id": 5, "name": "deploy", "status": "pending", "allow_failure": True, "target_url": None}

        def thread(n: int) -> dict[str, Any]:
            place = {"new_path": "app.txt", "new_line": 2, "head_sha": OTHER if n == 1 else lab.SHA}
            note = {
                "id": n, "body": "Why?", "author": {"username": "bob"}, "resolvable": True,
                "resolved": n > 150, "position": place, "created_at": "2026-11-27T09:00:00.000Z",
            }  # fmt: skip
            return {"id": f"T{n}", "notes": [note]}

        said = {"id": "C", "notes": [{"id": 900, "body": "added 1 commit", "resolvable": False}]}
        self.server.add(
            number, draft=True, has_conflicts=True, detailed_merge_status="requested_changes",
            labels=["bug", "<b>"], _jobs=[job], _statuses=[other, job],
            _discussions=[said, *map(thread, range(1, 203))],
            _reviewers=[{"user": {"username": "eve"}, "state": "requested_changes"}],
            _approvals={"approvals_required": 2, "approvals_left": 2},
        )  # fmt: skip

    def add_log(self, number: int, log: bytes) -> None:
        self.server.traces[number] = log


Bench = OnGitHub | OnGitLab


@pytest.fixture(params=["github", "gitlab"])
def forge(request: pytest.FixtureRequest) -> Iterator[Bench]:
    if request.param == "github":
        with hub.github() as server:
            yield OnGitHub(server)
    else:
        with lab.gitlab() as server:
            yield OnGitLab(server)


@asynccontextmanager
async def client(
    forge: Bench, token: str | None = None, cache: dict[str, Any] | None = None
) -> AsyncIterator[ForgeClient]:
    token = forge.token if token is None else token
    opened = registry.open_client(
        forge.kind, Api("forge.test", forge.api, f"{forge.api}/graphql", token), cache
    )
    try:
        yield opened
    finally:
        await opened.aclose()


async def test_a_list_of_500_costs_five_requests_and_their_etags_are_sent(forge: Bench) -> None:
    for number in range(1, 501):
        forge.add_plain(number)
    forge.add_plain(501, state="CLOSED" if forge.kind == "github" else "closed")
    cache: dict[str, Any] = {}
    for _ in range(2):
        async with client(forge, cache=cache) as opened:
            pulls = await opened.list_open(SLUG)
        assert sorted(pull.number for pull in pulls) == list(range(1, 501))
    assert [status for _, _, status in forge.server.requests] == [200] * 5 + [304] * 5
    pull = pulls[0]
    assert (pull.title, pull.author, pull.state, pull.base_ref, pull.head_sha, pull.labels) == (
        "Change 1", "ada", "open", "main", forge.sha, ("bug",)
    )  # fmt: skip
    assert not pull.detailed


async def test_the_beginning_of_a_commit_is_expanded_and_a_branch_is_none(forge: Bench) -> None:
    forge.server.commits = {"abcdef1" + "2" * 33, "abcdef2" + "3" * 33}
    forge.server.branches = {"cafe123": forge.sha}
    async with client(forge) as opened:
        assert await opened.expand_commit(SLUG, "abcdef1") == "abcdef1" + "2" * 33
        assert await opened.expand_commit(SLUG, "abcdef2") == "abcdef2" + "3" * 33
        for begun in ("cafe123", "dead123"):
            with pytest.raises(OffloadError, match=begun):
                await opened.expand_commit(SLUG, begun)


async def test_details_are_complete_and_about_the_head(forge: Bench) -> None:
    forge.add_blocked(3)
    async with client(forge) as opened:
        pull = await opened.get(SLUG, 3)
    assert (pull.draft, pull.mergeable, pull.labels, pull.linked_issues) == (
        True, "no", ("bug", "<b>"), (7,)
    )  # fmt: skip
    assert (pull.base_sha, pull.head_sha, pull.review_decision) == (
        "2" * 40, forge.sha, "changes_requested"
    )  # fmt: skip
    assert (pull.additions, pull.deletions, pull.changed_files) == (1, 0, 1)
    unit, deploy = pull.checks
    assert (unit.name, unit.workflow, unit.outcome, unit.said, unit.required, unit.log, unit.url) == (
        "unit", "test", "failure", "failure", True, 41, ""
    )  # fmt: skip
    assert (deploy.name, deploy.outcome, deploy.required, deploy.log) == ("deploy", "pending", False, None)
    assert pull.threads is not None
    assert len({thread.id for thread in pull.threads}) == 202
    assert sum(not thread.resolved for thread in pull.threads) == 150
    thread = pull.threads[0]
    assert (thread.path, thread.line, thread.author, thread.bodies, thread.outdated) == (
        "app.txt", 2, "bob", ("Why?",), True
    )  # fmt: skip
    assert not pull.threads[1].outdated
    assert [(review.author, review.state) for review in pull.reviews or ()] == [("eve", "changes_requested")]
    assert pull.rules is not None
    assert (pull.rules.approvals, pull.rules.resolved_threads) == (2, True)


async def test_mergeability_is_never_guessed(forge: Bench) -> None:
    forge.add_plain(1)
    forge.server.unknown_mergeability = 2
    async with client(forge) as opened:
        said = [(await opened.get(SLUG, 1)).mergeable for _ in range(3)]
    assert said == ["unknown", "unknown", "yes"]


async def test_without_a_token_a_public_repository_can_be_read(forge: Bench) -> None:
    forge.add_blocked(3)
    async with client(forge, token="") as opened:
        assert [pull.number for pull in await opened.list_open(SLUG)] == [3]
        pull = await opened.get(SLUG, 3)
    assert (pull.mergeable, pull.checks[0].outcome, pull.reviews) == ("no", "failure", None)


async def test_a_used_up_limit_stops_requests_before_they_are_sent(forge: Bench) -> None:
    forge.add_plain(3)
    forge.server.limit = 1
    async with client(forge) as one, client(forge) as two, client(forge, token="") as other:
        await one.list_open(SLUG)
        assert one.limit is not None
        assert (one.limit.limit, one.limit.remaining) == (1, 0)
        sent = len(forge.server.requests)
        with pytest.raises(ForgeLimited, match="no further request until"):
            await two.list_open(SLUG)  # another client of the same token
        assert len(forge.server.requests) == sent
        with pytest.raises(ForgeLimited):
            await other.list_open(SLUG)


async def test_a_forge_that_wants_a_pause_gets_it(forge: Bench) -> None:
    forge.server.too_fast = True
    async with client(forge) as opened:
        for _ in range(2):
            with pytest.raises(ForgeLimited, match="no further request until"):
                await opened.list_open(SLUG)
    assert len(forge.server.requests) == 1


async def test_the_limit_can_be_asked_for(forge: Bench) -> None:
    async with client(forge) as opened:
        limit = await opened.read_limit(SLUG)
    assert limit is not None
    assert limit.limit == 5000


async def test_errors_are_told_apart(forge: Bench) -> None:
    async with client(forge) as opened:
        with pytest.raises(NotFound, match="does not have it"):
            await opened.get(SLUG, 99)
        with pytest.raises(NotFound):
            await opened.list_open("acme/none")
    async with client(forge, token="revoked") as opened:
        with pytest.raises(NotConfigured, match="refused the token"):
            await opened.list_open(SLUG)
    forge.server.server_close()  # what was accepted before is still answered; nothing new is
    async with client(forge) as opened:
        with pytest.raises(ForgeUnreachable, match="did not answer as it must"):
            await opened.list_open(SLUG)


async def test_the_token_follows_no_page_to_another_server(forge: Bench) -> None:
    for number in range(1, 102):
        forge.add_plain(number)
    with hub.github() as elsewhere:
        forge.server.elsewhere = elsewhere.url
        async with client(forge) as opened:
            with pytest.raises(ForgeUnreachable, match="named a page on"):
                await opened.list_open(SLUG)
        assert elsewhere.requests == []


async def test_the_end_of_a_log_is_read(forge: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.forges.http.MOST_LOG", 1000)
    forge.add_log(1, b"")
    forge.add_log(2, b"x" * 5000 + b"end")
    async with client(forge) as opened:
        assert distil(await opened.log(SLUG, 1), said="cancelled").note.startswith("The job was cancelled")
        log = await opened.log(SLUG, 2)
        assert (len(log.text), log.cut, log.text[-4:]) == (1000, True, "xend")
        with pytest.raises(NotFound):
            await opened.log(SLUG, 3)
    if forge.kind == "github":
        assert forge.server.file_requests == [None, None]  # another server, which gets no token
