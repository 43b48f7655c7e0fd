"""A real dashboard with jobs, a pull request and a draft, and tokens for it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.cli import Cli
from tests.support.dashboard import Dashboard
from tests.support.git_repos import NO_HUNKS, RepoBuilder
from tests.support.offload_home import worker_root

SEED = """
from django.core.management import call_command
from django.utils import timezone
call_command("migrate", verbosity=0)
from jobs.execution.archive import archive_dir
from jobs.models import Draft, PullRequest
from tests.support import factories as make

from datetime import timedelta
from pathlib import Path
import asyncio, json
from jobs.execution import resolve_repository
from jobs.workers import find_worker

find_worker("local")
asyncio.run(resolve_repository("SHOP", Path("/")))
known = make.make_repository("acme/tinycart")
done = make.make_job(
    verdict="pass", number=9, tasks=[make.make_task("test")], archived_at=timezone.now(), assessment="# Fine",
    findings=[{"severity": "note", "message": "<b>odd</b>", "file": "a.py", "line": 3}],
)
logs = archive_dir(done.id) / "tasks"
logs.mkdir(parents=True)
(logs / "test.log").write_bytes(b"one\\ntwo\\n")
make.make_job(number=9, action="ready", state="failed", removed_at=timezone.now())
make.make_job(number=10, state="failed", action="ready")
PullRequest.objects.create(repository=known, number=9, title="Fix")
# The list counts as read for as long as the tests take: there is no such forge to read it from again.
PullRequest.objects.update(fetched_at=timezone.now() + timedelta(hours=1))
Draft.objects.create(
    repository=known, job=done, number=9, kind="review", head_sha=done.sha, mark="1" * 32, body="Good.",
    comments=[{"path": "a.py", "line": 3, "body": "odd"}],
)
from jobs.operations import add_token
from jobs.states import Scope
tokens = {scope.value: asyncio.run(add_token(scope.value, [scope.value], "me"))[1] for scope in Scope}
tokens["all"] = asyncio.run(add_token("all", list(tokens), "me"))[1]
print(json.dumps([done.id, tokens]))
"""


@dataclass
class Served:
    """A running dashboard. `url`: of the API, without a slash at the end; `job`: the id of an ended job."""

    dashboard: Dashboard
    cli: Cli
    url: str
    job: int
    tokens: dict[str, str]

    def client(self, scope: str = "") -> httpx.Client:
        """A client with a token of one scope (`all`: of every one); without one, a stranger."""
        headers = {"Authorization": f"Bearer {self.tokens[scope]}"} if scope else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20)

    def add_token(self, name: str, *arguments: str) -> str:
        """Make a token by the command line; return it."""
        return str(self.cli.json("offload", "token", "add", name, *arguments)["secret"])


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A dashboard that all tests of the API share."""
    home: Path = tmp_path_factory.mktemp("api")
    shop = RepoBuilder(home / "shop")
    shop.commit({**NO_HUNKS, "Makefile": "test:\n\tsh ./test.sh\n", "test.sh": "true\n"})
    shop.pull(3, {"test.sh": "echo waiting\nexec sleep 300\n"})
    running = Dashboard(home)
    running.environment |= {"OFFLOAD_CONTAINER": "never"}
    job, tokens = json.loads(running.python(SEED.replace("SHOP", str(shop.path))))
    with worker_root(home / "worker", str(Path.home() / ".offload")):
        try:
            serving = running.start()
            yield Served(running, Cli(home, home), f"{serving.url}/api/v1", job, tokens)
        finally:
            running.stop()
