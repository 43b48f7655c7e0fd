"""Merge requests of GitLab on the command line, against a strict fake over HTTP."""

from collections.abc import Iterator

import pytest

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
