"""What every test may count on."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import memory_cloud  # noqa: F401 - adds the provider `memory`

# A machine that forbids it (container images like to) has each of the hundreds of command lines that the
# tests start compile Offload again: a third of what such a start costs. A user's machine does not.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# `docs/generate.py` is a script, not a package of the product.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# A busy machine draws examples slowly; that is no finding.
settings.register_profile("offload", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("offload")

# Started in the background (by a CI system, by nohup), Python inherits ignored signals and hands them on
# to every child: then no Ctrl-C and no hang-up could be tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
    signal.signal(_number, signal.SIG_DFL)

# Panes and side shells open this one, not the tester's own with its start-up files.
os.environ["SHELL"] = str(Path(__file__).resolve().parent / "support" / "plain-shell")

# The files that take longest begin first, so that no processor waits for one of them at the end.
LONGEST = (
    "container/test_image.py",
    "acceptance/test_open_source.py",
    "container/",
    "jobs/cli/test_main_command.py",
    "jobs/execution/test_main_job.py",
    "contracts/test_transport.py",
    "acceptance/",
    "browser/",
    "container/test_boot",  # once test_image has built what these take of the image
)

# Left out of the quick loop (`make check`): the files whose tests take longest, of real peers mostly.
SLOW = frozenset((
    "contracts/test_transport.py", "jobs/api/test_documentation.py", "jobs/api/test_mcp.py",
    "jobs/api/test_openapi.py", "jobs/api/test_remote_cli.py", "jobs/migrations/test_upgrade.py",
    "jobs/cli/test_forked.py", "jobs/execution/test_private_repository.py",
    "runner/test_client.py", "runner/test_environments.py", "runner/test_watchdog.py",
    "terminals/test_field.py", "jobs/cli/test_gcp_bad_input.py", "jobs/cli/test_gcp_setup.py",
    "jobs/cli/test_main_command.py", "jobs/cli/test_secret.py", "jobs/cli/test_terminal.py",
    "jobs/execution/test_agents.py", "jobs/execution/test_crashes.py", "jobs/execution/test_more_agents.py",
    "jobs/execution/test_main_job.py", "jobs/execution/test_ready.py", "jobs/execution/test_secrets.py",
    "jobs/execution/test_workers.py", "jobs/outbox/test_push.py", "jobs/providers/test_gce_examine.py",
    "jobs/providers/test_gce_identity.py", "jobs/workers/test_crashes.py",
    "jobs/workers/test_fleet_verbs.py", "offload_web/test_serve.py", "runner/test_carried.py",
    "runner/test_run.py", "runner/test_sessions.py", "runner/test_steps.py",
    "runner/test_worktree_base.py", "runner/test_worktree_crash.py",
    "runner/test_worktree_prepare.py", "runner/test_worktree_remotes.py",
    "runner/test_worktree_unsaved.py", "terminals/test_bytes.py", "terminals/test_far.py",
    "terminals/test_leaks.py", "terminals/test_server.py",
))  # fmt: skip


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Put the process's umask back: a command of the runner that a test calls in this process sets it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests of slow files."""
    if item.path.relative_to(Path(__file__).resolve().parent).as_posix() in SLOW:
        item.add_marker(pytest.mark.slow)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the order is random otherwise."""
    here = Path(__file__).resolve().parent

    def rank(item: pytest.Item) -> int:
        name = item.path.relative_to(here).as_posix()
        found = [(len(start), n) for n, start in enumerate(LONGEST) if name.startswith(start)]
        return max(found)[1] if found else len(LONGEST)

    items.sort(key=rank)
