"""Rules of the packages that import-linter cannot say."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("offload_web", "jobs", "terminals")
STATE_COLUMNS = {"state", "reason", "reason_detail", "attention", "attention_until", "verdict"}
WRITERS = {"create", "update", "aupdate", "update_or_create", "aupdate_or_create", "acreate", "bulk_update"}
RUNNER = ROOT / "jobs" / "remote" / "offload_runner"


def test_the_runner_needs_no_newer_python_than_it_says() -> None:
    """By what its syntax and its calls to the standard library need."""
    command = [
        str(Path(sys.executable).with_name("vermin")),
        "--target=3.9-",
        "--violations",
        "--no-tips",
        str(RUNNER),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def sources(*packages: str) -> Iterator[tuple[Path, ast.Module]]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def state_writes(tree: ast.Module) -> list[int]:
    """Lines that write a state column through the ORM: `Job...update(state=...)`, or save a model."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITERS:
            model = ast.unparse(node.func)
            if model.startswith(("Job.", "Worker.", "jobs.")) and STATE_COLUMNS & {
                k.arg for k in node.keywords
            }:
                lines.append(node.lineno)
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("save", "asave")
        ):
            lines.append(node.lineno)
    return lines


def test_transitions_is_the_only_writer_of_state_columns() -> None:
    guilty = {
        str(path): lines
        for path, tree in sources("jobs", "terminals")
        if path != Path("jobs/transitions.py") and "demo" not in path.parts
        for lines in [state_writes(tree)]
        if lines
    }
    assert guilty == {}


# Each of these is written by one module: (text of the call, keyword) -> module.
ONE_WRITER = {
    ("Worker.objects", "desired"): "jobs/transitions.py",
    ("Worker.objects", "config"): "jobs/workers/records.py",
    ("Worker.objects", "facts"): "jobs/workers/records.py",
    ("WorkerRequest.objects", "state"): "jobs/workers/requests.py",
    ("WorkerRequest.objects", "kind"): "jobs/workers/requests.py",
    ("open_requests(", "state"): "jobs/workers/requests.py",
    ("Dismissal.objects", "defaults"): "jobs/operations/inbox.py",
}


def writers_of(model: str, column: str) -> set[str]:
    return {
        str(path)
        for path, tree in sources("jobs", "terminals")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in WRITERS
        and ast.unparse(node.func).startswith(model)
        and column in {keyword.arg for keyword in node.keywords}
    }


@pytest.mark.parametrize(("model", "column"), ONE_WRITER)
def test_one_module_writes_desired_states_and_requests(model: str, column: str) -> None:
    assert writers_of(model, column) <= {ONE_WRITER[model, column]}


def test_the_check_for_writers_finds_one() -> None:
    assert writers_of("Worker.objects", "desired") == {"jobs/transitions.py"}
    for column in ("config", "facts"):
        assert writers_of("Worker.objects", column) == {"jobs/workers/records.py"}
    assert state_writes(ast.parse("Job.objects.filter(id=1).update(state='failed')"))


def test_only_three_modules_import_asyncssh() -> None:
    users = [
        str(path)
        for path, tree in sources(*PACKAGES)
        if any(n.split(".")[0] == "asyncssh" for n in imported(tree))
    ]
    assert users == [f"jobs/transport/{name}.py" for name in ("known_hosts", "ssh", "ssh_options")]


def test_the_runner_imports_the_standard_library_only() -> None:
    for path, tree in sources("jobs/remote/offload_runner"):
        roots = {name.split(".")[0] for name in imported(tree)}
        foreign = roots - set(sys.stdlib_module_names) - {"offload_runner", "__future__"}
        # Inside the project the package is imported by its full name; in the zipapp by its own.
        allowed = (
            {"jobs"} if all("offload_runner" in n for n in imported(tree) if n.startswith("jobs")) else set()
        )
        assert foreign <= allowed, f"{path} imports {foreign}"


LISTING = (
    "jobs.execution",
    "jobs.workers",
    "jobs.providers",
    "jobs.playbooks",
    "jobs.dashboard",
    "jobs.transport",
)
HEAVY = (
    "asyncssh", "ninja", "rich", "twisted", "channels", "daphne", "google", "keyring", "cryptography",
    "tomlkit",
)  # fmt: skip


@pytest.mark.parametrize(
    ("command", "not_loaded"),
    [
        (["offload", "--help"], ("django", "asyncio", "sqlite3", *HEAVY)),
        (["offload", "__complete", "stat"], ("django", "asyncio", *HEAVY)),
        (["offload", "ls"], (*LISTING, *HEAVY)),
        (["offload", "status"], (*LISTING, *HEAVY)),
    ],
)
def test_a_command_loads_only_what_it_needs(
    command: list[str], not_loaded: tuple[str, ...], tmp_path: Path
) -> None:
    code = (
        "import json, sys, manage\n"
        "try: manage.main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "offload_web.settings", "OFFLOAD_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert loaded & set(not_loaded) == set()


def test_files_stay_readable() -> None:
    long = {
        str(path): count
        for path, _ in sources(*PACKAGES)
        for count in [len((ROOT / path).read_text(encoding="utf-8").splitlines())]
        if count > 500
    }
    assert long == {}
