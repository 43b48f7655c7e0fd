"""GitHub's client and the kept pull requests, against a strict fake over HTTP."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from graphql import build_schema, parse, validate

from jobs.errors import ForgeLimited, ForgeUnreachable, NotConfigured, NotFound, OffloadError, Refused
from jobs.forges import registry
from jobs.forges.github.client import GitHubClient
from jobs.forges.pulls import Api
from tests.jobs.cli.conftest import cli as cli
from tests.support.cli import Cli
from tests.support.github import SCHEMA, SHA, TOKEN, GitHub, github
from tests.support.github_schema import QUERIES

SLUG = "acme/shop"
FAILED = {
    "__typename": "CheckRun", "name": "test", "status": "COMPLETED", "conclusion": "FAILURE",
    "detailsUrl": "https://ci.test/1", "required": True,
}  # fmt: skip
PENDING = {
    "__typename": "StatusContext", "context": "deploy", "state": "PENDING", "targetUrl": None,
    "required": False,
}  # fmt: skip
THREAD = {"id": "T1", "isResolved": False, "path": "app.txt", "line": 2, "body": "Why?"}


@pytest.fixture
def forge() -> Iterator[GitHub]:
    with github() as server:
        yield server


@asynccontextmanager
async def client(
    forge: GitHub, token: str = TOKEN, cache: dict[str, Any] | None = None
) -> AsyncIterator[GitHubClient]:
    opened = GitHubClient(Api("github.test", forge.url, f"{forge.url}/graphql", token), cache)
    try:
        yield opened
    finally:
        await opened.aclose()


def configure(cli: Cli, forge: GitHub, token: str = TOKEN) -> None:
    cli.env |= {"OFFLOAD_FORGE_APIS": f"github.test={forge.url}", "GIT_TOKEN_GITHUB_TEST": token}
    cli.env["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"


REPO = ("--repo", "https://github.test/acme/shop")


def test_the_queries_fit_the_published_schema() -> None:
    schema = build_schema(SCHEMA)
    assert [error.message for query in QUERIES for error in validate(schema, parse(query))] == []


async def test_details_are_complete_over_pages_and_about_exactly_the_head(forge: GitHub) -> None:
    threads = [THREAD | {"id": f"T{n}", "isResolved": n > 150} for n in range(1, 203)]
    checks = [FAILED | {"name": f"check {n}"} for n in range(130)] + [PENDING]
    forge.add(3, threads=threads, checks=checks, reviewDecision="CHANGES_REQUESTED")
    async with client(forge) as hub:
        pull = await hub.get(SLUG, 3)
        with pytest.raises(NotFound, match="does not have it"):
            await hub.get(SLUG, 99)
    assert pull.threads is not None
    assert (len(pull.threads), len(pull.checks), pull.linked_issues) == (202, 131, (7,))
    assert {check.outcome: check.required for check in pull.checks} == {"failure": True, "pending": False}
    assert len({thread.id for thread in pull.threads}) == 202


async def test_without_a_token_public_repositories_can_be_read(forge: GitHub) -> None:
    forge.add(3, mergeable="CONFLICTING")
    async with client(forge, token="") as hub:
        pull = await hub.get(SLUG, 3)
        assert (pull.mergeable, pull.threads, pull.checks[0].outcome) == ("no", None, "failure")
        with pytest.raises(NotConfigured, match="needs a token"):
            await hub.find_mark(SLUG, 3, "mark")


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("API rate limit exceeded for user", ForgeLimited),
        ("Something went wrong", ForgeUnreachable),
        ("No", Refused),
    ],
)
async def test_errors_of_graphql_say_whether_to_try_again(
    forge: GitHub, said: str, error: type[Exception]
) -> None:
    forge.add(3)
    forge.graphql_error = said
    async with client(forge) as hub:
        with pytest.raises(OffloadError) as caught:
            await hub.get(SLUG, 3)
    assert type(caught.value) is error


@pytest.mark.parametrize("entry", ["github.test", "github.test=http://forge.example", "x=ftp://127.0.0.1"])
def test_an_address_of_an_api_is_checked(entry: str) -> None:
    with pytest.raises(NotConfigured, match="forge_apis"):
        registry.api_of("github", "github.test", [entry], "")


RULESETS = [
    {"parameters": None},
    {
        "parameters": {
            "__typename": "PullRequestParameters",
            "requiredApprovingReviewCount": 2, "requireCodeOwnerReview": True,
            "requiredReviewThreadResolution": True,
        }
    },
    {
        "parameters": {
            "__typename": "RequiredStatusChecksParameters",
            "requiredStatusChecks": [{"context": "test"}, {"context": "docs"}],
            "strictRequiredStatusChecksPolicy": True,
        }
    },
]  # fmt: skip
RULE = {
    "requiredApprovingReviewCount": 1, "requiredStatusCheckContexts": ["test", "lint"],
    "requiresCodeOwnerReviews": False, "requiresConversationResolution": False,
}  # fmt: skip


def test_what_blocks_the_merge_is_said_by_name(cli: Cli, forge: GitHub) -> None:
    configure(cli, forge)
    suite = {"app": {"slug": "github-actions"}, "workflowRun": {"workflow": {"name": "CI"}}}
    cancelled = FAILED | {
        "conclusion": "CANCELLED", "databaseId": 41, "checkSuite": suite, "required": False
    }  # fmt: skip
    forge.add(
        1, checks=[cancelled | {"name": "slow"}, FAILED | {"databaseId": 42, "checkSuite": suite}],
        threads=[THREAD | {"body": "Why?\x1b[2J \u202ehidden"}, THREAD | {"id": "T2", "isResolved": True}],
        rule=RULE, rulesets=RULESETS, labels=["a\x1b[31m"], mergeStateStatus="BLOCKED",
        reviewDecision="CHANGES_REQUESTED", opinions=[("eve", "CHANGES_REQUESTED", "9" * 40)],
    )  # fmt: skip
    forge.add(2, reviewDecision="REVIEW_REQUIRED", rulesets=RULESETS[:2], opinions=[("bob", "APPROVED", SHA)])
    line = "2026-11-27T10:00:05.1234567Z "
    failed = f"{line}FAILED a.py::test_a\x1b[2J\u202e"
    log = f"{line}##[group]Run x\n{failed}\n{line}##[error]Process completed with exit code 1."
    forge.logs = {41: ([], b""), 42: ([], log.encode())}
    told = cli.run("offload", "status", "1", *REPO).stdout
    assert not {"\x1b", "\u202e"} & set(told)
    assert "The job was cancelled and wrote no log." in told
    assert "again: python -m pytest a.py::test_a\n" in told
    assert len(forge.file_requests) == 2
    checks = cli.run("offload", "doctor", code=None).stdout
    assert "forge github.test: token from GIT_TOKEN_GITHUB_TEST; " in checks
    assert " of 5000 requests left until " in checks
    assert "CI / slow: cancelled, not required" in told
    assert "CI / test: failure, required" in told
    assert "app.txt:2: bob: Why?" in told
    data = cli.json("offload", "status", "1", *REPO)["pull_request"]
    assert data["blocks"] == [
        "The required check test failed.",
        "The required check lint has not reported.",
        "The required check docs has not reported.",
        "eve requested changes of an older head.",
        "1 thread is not resolved, which a branch rule wants.",
    ]
    assert [check["log"] for check in data["checks"]] == [41, 42]
    assert len(forge.file_requests) == 2  # what a job logged does not change
    assert [thread["id"] for thread in data["threads"]] == ["T1"]
    assert data["rules"]["approvals"] == 2
    told = cli.run("offload", "status", "2", *REPO).stdout
    assert "2 approvals are wanted, and 1 given; a code owner's counts." in told
    # Without a token, what the forge does not tell is said, and not guessed.
    lies = "x\n  Nothing is known to block the merge.\x1b[2J\u2028\u202e"
    forge.add(4, checks=[FAILED | {"name": lies}], labels=[lies], headRefName=lies)
    told = cli.run("offload", "status", "4", *REPO).stdout
    assert "  Nothing is known to block the merge." not in told.splitlines()
    assert "The required check x Nothing is known to block the merge. [2J failed." in told
    cli.env["GIT_TOKEN_GITHUB_TEST"] = ""
    forge.add(3)
    assert (
        "Threads, reviews and branch rules were not read" in cli.run("offload", "status", "3", *REPO).stdout
    )


def test_the_command_line_lists_and_describes_pull_requests(cli: Cli, forge: GitHub) -> None:
    configure(cli, forge)
    hostile = "\x1b]0;owned\x07 \x1b[2J\nrm -rf <script>"
    forge.add(1, title=hostile, threads=[THREAD], checks=[FAILED, PENDING])
    forge.add(2, isDraft=True)
    forge.unknown_mergeability = 1
    listed = cli.run("offload", "ls", "--open", *REPO).stdout
    assert not {"\x1b", "\x07"} & set(listed)
    assert len(listed.splitlines()) == 2
    assert "draft: Change 2 [bug]" in listed
    told = cli.run("offload", "status", "1", *REPO).stdout
    assert "has not computed yet" in told  # and the next answer knows
    data = cli.json("offload", "status", "1", *REPO)["pull_request"]
    assert data["blocks"] == ["The required check test failed.", "1 thread is not resolved."]
    assert (data["mergeable"], data["head_sha"], data["author"]) == ("yes", SHA, "ada")
    asked = len(forge.requests)
    cli.run("offload", "status", "1", *REPO)
    assert len(forge.requests) == asked  # read within the last minute
    # What is known is shown when the forge refuses.
    cli.env["GIT_TOKEN_GITHUB_TEST"] = "ghp_a-token-that-was-revoked"
    shown = cli.run("offload", "status", "2", *REPO)
    assert "refused the token" in shown.stderr
    assert "Its details were not read yet." in shown.stdout
    assert TOKEN not in "".join(
        path.read_text(errors="replace") for path in cli.home.rglob("*") if path.is_file()
    )


def test_all_open_pull_requests_are_started_after_a_question(cli: Cli, forge: GitHub) -> None:
    configure(cli, forge)
    assert "no open pull request" in cli.run("offload", "--all-open", *REPO).stderr
    forge.add(1, updatedAt="2026-11-26T10:00:00Z")
    forge.add(2, title="Two\x1b[2J")
    forge.add(3, updatedAt="2026-11-25T10:00:00Z")
    words = ("--all-open", "--limit", "2", "review", *REPO)
    refused = cli.run("offload", *words, code=5)
    assert "#2 Two�[2J" in refused.stdout + refused.stderr
    assert "Pass --yes" in refused.stderr
    assert cli.json("offload", "ls")["jobs"] == []
    # The fake serves no git: each job is tried, the last changed first.
    errors = cli.json("offload", *words, "--yes", "--trust", code=3)["errors"]
    assert [(error["target"], error["code"]) for error in errors] == [
        ("#2", "remote_unreachable"),
        ("#1", "remote_unreachable"),
    ]


def test_a_forge_without_a_client_says_so(cli: Cli) -> None:
    done = cli.run("offload", "ls", "--open", "--repo", "https://git.example/a/b", code=4)
    assert "it is no GitHub" in done.stderr
