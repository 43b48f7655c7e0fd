"""Merge requests of GitLab on the command line, against a strict fake over HTTP."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from jobs.errors import ForgeUnreachable, Refused
from jobs.forges.gitlab.client import GitLabClient
from jobs.forges.pulls import Api, NewPull
from tests.jobs.cli.conftest import cli as cli
from tests.support.cli import Cli
from tests.support.gitlab import TOKEN, GitLab, gitlab

REPO = ("--repo", "https://gitlab.test/acme/shop")
HOSTILE = "\x1b]0;owned\x07 \x1b[2J\nrm -rf <script>"
JOB = {
    "id": 41, "name": "unit\x1b[2J", "stage": "test", "status": "failed", "allow_failure": False,
    "web_url": "https://gitlab.test/acme/shop/-/jobs/41",
}  # fmt: skip


@pytest.fixture
def forge() -> Iterator[GitLab]:
    with gitlab() as server:
        yield server


def test_the_command_line_lists_and_describes_merge_requests(cli: Cli, forge: GitLab) -> None:
    cli.env |= {"OFFLOAD_FORGE_APIS": f"gitlab.test={forge.url}", "GIT_TOKEN_GITLAB_TEST": TOKEN}
    cli.env["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"
    forge.add(
        1, title=HOSTILE, _jobs=[JOB], detailed_merge_status="ci_must_pass",
        _approvals={"approvals_required": 2, "approvals_left": 2},
    )  # fmt: skip
    forge.add(2, _jobs=[JOB], sha="3" * 40, detailed_merge_status="need_rebase")
    listed = cli.run("offload", "ls", "--open", *REPO).stdout
    assert not {"\x1b", "\x07"} & set(listed)
    assert len(listed.splitlines()) == 2
    told = cli.run("offload", "status", "1", *REPO).stdout
    assert not {"\x1b", "\x07"} & set(told)
    assert "test / unit" in told
    data = cli.json("offload", "status", "1", *REPO)["pull_request"]
    assert data["blocks"] == [
        "The required check unit [2J failed.",
        "A required review is missing: 2 approvals are wanted, and 0 given.",
    ]
    assert data["url"] == "https://gitlab.test/acme/shop/-/merge_requests/1"
    told = cli.run("offload", "status", "2", *REPO).stdout
    assert "behind main" in told
    # What members only may see is said to be unknown.
    cli.env["GIT_TOKEN_GITLAB_TEST"] = ""
    forge.add(3)
    told = cli.run("offload", "status", "3", *REPO).stdout
    assert "Reviews were not read" in told
    forge.garbage = True
    forge.add(4)
    failed = cli.run("offload", "status", "4", *REPO, code=3)
    assert "did not answer as it must" in failed.stderr


async def test_an_issue_is_read_and_a_merge_request_for_it_opened_once(forge: GitLab) -> None:
    note = {"author": {"username": "eve"}, "body": "By percent.", "system": False}
    forge.issues[45] = {
        "iid": 45, "title": "Discounts", "description": "Add discounted().", "state": "opened",
        "labels": ["feature"], "author": {"username": "bob"}, "epic": {"iid": 3, "title": "Prices"},
        "web_url": "https://gitlab.test/acme/shop/-/issues/45",
        "_notes": [note | {"body": "changed the label", "system": True}, note],
    }  # fmt: skip
    client = GitLabClient(Api("gitlab.test", forge.url, "", TOKEN))
    try:
        issue = await client.issue("acme/shop", 45)
        assert (issue.title, issue.body, issue.author) == ("Discounts", "Add discounted().", "bob")
        assert [(one.author, one.body) for one in issue.comments] == [("eve", "By percent.")]
        assert [(one.reference, one.title) for one in issue.parents] == [("&3", "Prices")]
        new = NewPull("Discounts", "Closes #45.\n\n<!-- offload:1 -->", "main", "offload/45", "acme/shop")
        assert await client.find_pull("acme/shop", new, "offload:1") is None
        forge.lose_answers_of = {"merge_requests"}
        with pytest.raises(ForgeUnreachable):
            await client.open_pull("acme/shop", new)
        found = await client.find_pull("acme/shop", new, "offload:1")
        assert found is not None
        assert found.url == "https://gitlab.test/acme/shop/-/merge_requests/1"
        assert await client.find_pull("acme/shop", new, "offload:2") is None
        with pytest.raises(Refused, match="already exists"):
            await client.open_pull("acme/shop", replace(new, draft=True))
        with pytest.raises(Refused, match="only branches of acme/shop"):
            await client.open_pull("acme/shop", replace(new, head_repository="ada/shop"))
    finally:
        await client.aclose()
    assert [body["title"] for _, _, body in forge.posts] == ["Discounts"]
