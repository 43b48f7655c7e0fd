"""The plan of a review: its tasks, their order, what it says when something is missing."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.errors import UsageError
from jobs.playbooks import registry
from jobs.playbooks.base import RepositoryFacts
from jobs.remote.offload_runner.protocol import ISOLATED, Plan, Task, load_plan
from tests.jobs.playbooks.facts import context, facts
from tests.support.git_repos import RepoBuilder

NODE = {
    "package.json": json.dumps(
        {
            "scripts": {"build": "tsc", "test": "jest", "lint": "eslint ."},
            "devDependencies": {"jest": "29"},
        }
    )
}
PYTHON = {"setup.py": "setup(extras_require={'test': ['pytest']})"}
CONFIG = ".offload/config.toml"


def review(seen: RepositoryFacts, *, base: bool = True) -> Plan:
    """Return the plan, as the worker reads it."""
    return load_plan(json.loads(registry.get("review").plan(context(seen, base=base)).dumps()))


def by_id(plan: Plan) -> dict[str, Task]:
    return {task.id: task for task in plan.tasks}


def test_the_whole_review_of_a_node_project() -> None:
    plan = review(facts(NODE, changed=["src/a.ts", "+test/a.test.js", "test/fixtures/x.json"]))
    tasks = by_id(plan)
    assert list(tasks) == [
        "context", "conflicts", "install", "build", "test", "lint", "base", "proof", "test-base", "hunks",
        "synthesis",
    ]  # fmt: skip
    assert {name: task.needs for name, task in tasks.items() if name != "synthesis"} == {
        "context": [],
        "conflicts": [],
        "install": [],
        "build": ["install"],
        "test": ["build"],
        "lint": ["build"],
        "base": [],
        "proof": ["install", "build", "base"],
        "test-base": ["install", "build", "test", "lint", "proof"],
        "hunks": ["test", "test-base"],
    }
    assert (tasks["test-base"].when, tasks["test-base"].role) == ("always", "test_base")
    synthesis = tasks["synthesis"]
    assert (synthesis.when, synthesis.evidence) == ("always", False)
    assert set(synthesis.needs) == set(tasks) - {"synthesis"}
    assert tasks["proof"].argv == [
        "{python}", *ISOLATED, "{runner}", "--root", "{root}",
        "step", "proof", "--session", "offload-shop-7-review",
    ]  # fmt: skip
    assert plan.job["target"] == "#7"
    assert plan.job["sha"] == "a" * 40


def test_the_proof_gets_the_changed_tests_and_what_they_need() -> None:
    changed = ["src/a.ts", "+test/a.test.js", "-test/old.test.js", "test/fixtures/x.json"]
    tasks = by_id(review(facts(NODE, changed=changed)))
    (group,) = tasks["proof"].outputs["proof"]
    assert group["test_files"] == ["test/a.test.js"]
    assert group["support"] == ["test/fixtures/x.json"]
    assert group["shell"].endswith(
        'jest --coverage=false --json --outputFile="$OFFLOAD_RESULTS/jest.json" --no-bail "$@"'
    )
    setup = ["npm install --no-audit --no-fund --no-package-lock", "npm run build"]
    assert tasks["proof"].outputs["setup"] == tasks["base"].outputs["setup"] == setup


@pytest.mark.parametrize("changed", [[], ["src/a.ts"], ["-test/a.test.js"]])
def test_without_changed_tests_there_is_no_proof(changed: list[str]) -> None:
    assert "proof" not in by_id(review(facts(NODE, changed=changed)))


def test_two_ecosystems_are_told_apart_and_proven_apart() -> None:
    seen = facts({**NODE, **PYTHON}, root=["tests"], changed=["test/a.test.js", "tests/test_a.py"])
    tasks = by_id(review(seen))
    assert {"install-node", "install-python", "test-node", "test-python"} <= set(tasks)
    assert tasks["test-python"].needs == ["install-python"]
    groups = tasks["proof"].outputs["proof"]
    assert [group["test_files"] for group in groups] == [["test/a.test.js"], ["tests/test_a.py"]]


def test_make_waits_for_what_npm_installs() -> None:
    files = {"package.json": '{"devDependencies": {"mocha": "*"}}', "Makefile": "test:\n\tmocha\n"}
    assert by_id(review(facts(files)))["test-make"].needs == ["install-node"]


def test_a_missing_program_is_said_by_the_task_that_needs_it() -> None:
    task = by_id(review(facts({"Cargo.toml": ""}, tools=[])))["test"]
    assert task.outputs["missing_program"] == "cargo"
    assert task.shell is not None
    done = subprocess.run(["sh", "-c", task.shell], capture_output=True, text=True, check=False)
    assert done.returncode == 127
    assert done.stderr == "cargo is not installed on this worker, so `cargo test` cannot run.\n"


def test_a_repository_of_nothing_known_is_still_reviewed() -> None:
    assert list(by_id(review(facts({})))) == ["context", "conflicts", "synthesis"]


def test_a_change_without_a_base_is_not_compared() -> None:
    plan = review(facts(NODE, changed=["test/a.test.js"]), base=False)
    assert list(by_id(plan)) == ["context", "install", "build", "test", "lint", "synthesis"]


def test_the_base_is_built_and_tested_by_its_own_commands() -> None:
    old = {"package.json": NODE["package.json"].replace('"jest"', '"mocha"', 1)}
    tasks = by_id(review(facts(NODE, base=old)))
    outputs = tasks["test-base"].outputs
    assert outputs["setup"] == ["npm install --no-audit --no-fund --no-package-lock", "npm run build"]
    checks = {check["task"]: check for check in outputs["checks"]}
    assert set(checks) == {"test", "test-as-on-base", "lint"}
    assert checks["test"]["always"]
    assert command(tasks["test-as-on-base"]).endswith("mocha")
    assert tasks["test-as-on-base"].outputs["of_base"]


def command(task: Task) -> str:
    """Return the command of a test task as people see it."""
    return str(task.outputs["shown"])


def configured(text: str, **changes: object) -> RepositoryFacts:
    return facts(NODE, base={**NODE, CONFIG: text}, **changes)  # type: ignore[arg-type]


def test_the_base_branch_overrides_commands() -> None:
    plan = review(
        configured(
            """
            parallel = 2
            timeout = 60
            [commands]
            install = "make deps"
            build = false
            test = "make check"
            test_file = 'make check ONE="$1"'
            [[tasks]]
            id = "docs"
            name = "documentation"
            shell = "make docs"
            needs = ["install"]
            timeout = 5
            [[tasks]]
            id = "upload"
            shell = "make upload"
            secrets = ["TOKEN"]
            [secrets]
            install = ["TOKEN"]
            """,
            changed=["tests/a.sh"],
        )
    )
    tasks = by_id(plan)
    assert plan.parallel == 2
    assert (tasks["install"].shell, command(tasks["test"])) == ("make deps", "make check")
    assert not any(task.role == "build" for task in plan.tasks)
    assert (tasks["docs"].shell, tasks["docs"].needs, tasks["docs"].timeout) == ("make docs", ["install"], 5)
    writes = {name: tasks[name].writes for name in ("install", "docs", "upload")}
    assert writes == {"install": True, "docs": True, "upload": False}
    assert tasks["test"].timeout == 60
    assert "docs" in tasks["synthesis"].needs
    (group,) = tasks["proof"].outputs["proof"]
    assert group["shell"].endswith('; make check ONE="$1"')
    assert tasks["lint"].shell == "npm run lint", "what is not overridden is detected"


def test_an_overridden_role_keeps_its_place_among_the_detected() -> None:
    config = '[commands]\ntest = "./t"\ntest_file = "./t $1"\nbuild = "./b"\n'
    tasks = by_id(review(configured(config, changed=["test/a.test.js"])))
    assert tasks["build"].needs == ["install"]
    assert set(tasks["test"].needs) == {"install", "build"}
    assert set(tasks["lint"].needs) == {"install", "build"}
    (group,) = tasks["proof"].outputs["proof"]
    install = "npm install --no-audit --no-fund --no-package-lock"
    assert group["shell"].endswith("; ./t $1")
    assert tasks["proof"].outputs["setup"] == [install, "./b"]
    assert command(tasks["test-base"]) == f"{{ {install}; }} && {{ ./b; }} && {{ ./t; }}"


def test_pyproject_overrides_too() -> None:
    base = {"pyproject.toml": '[tool.offload.commands]\ntest = "./t"\n'}
    assert command(by_id(review(facts(NODE, base=base)))["test"]) == "./t"


def test_the_head_overrides_nothing() -> None:
    files = {
        **NODE,
        CONFIG: '[commands]\ntest = "true"\n',
        "pyproject.toml": "[tool.offload]\nparallel = 9\n",
    }
    plan = review(facts(files, base=NODE))
    assert (command(by_id(plan)["test"]), plan.parallel) == ("npm test", None)


@pytest.mark.parametrize(
    ("text", "named", "hint"),
    [
        ("[commands]\ntets = 'x'", "'tets'", "'test'"),
        ("paralel = 2", "'paralel'", "'parallel'"),
        ("[[tasks]]\nid = 'a'\nshel = 'x'", "'shel'", "'shell'"),
        ("[[tasks]]\nid = 'a'", "incomplete", "shell"),
        ("[[tasks]]\nid = 'test'\nshell = 'x'", "'test'", "new"),
        ("[[tasks]]\nid = 'a'\nshell = 'x'\nneeds = ['nope']", "'a'", "among"),
        ("[[tasks]]\nid = 'Bad Id'\nshell = 'x'", "Bad Id", "tasks"),
        ("[[tasks]]\nid = 'a'\nshell = 'x'\nwrites = true", "'writes'", "secrets"),
        ("[[tasks]]\nid = 'a'\nshell = 'x'\nsecrets = ['T']\nwrites = 1", "writes of a", ""),
        ("timeout = 0", "timeout", ""),
        ("timeout = true", "timeout", ""),
        ("tasks = 3", "tasks", ""),
        ("commands = 3", "commands", ""),
        ("[commands]\ntest = 3", "test", ""),
        ("[commands]\ntest = true", "test", ""),
        ("[commands", "config.toml", "Correct"),
    ],
)
def test_a_broken_configuration_is_named_with_its_file_and_key(text: str, named: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        review(configured(text))
    assert named in caught.value.message
    assert hint in caught.value.hint
    assert "base branch" in caught.value.message or "plan for #7" in caught.value.message


def test_open_is_a_shell_and_nothing_else() -> None:
    plan = registry.get("open").plan(context(facts(NODE)))
    assert load_plan(plan.to_json()).tasks == []


def test_ready_checks_all_and_the_base_as_it_is_today(tmp_path: Path) -> None:
    repo = RepoBuilder(tmp_path / "shop").commit({"a": "1"}).pull(7, {"b": "1"})
    head, old = repo.sha("refs/pull/7/head"), repo.sha()
    new = repo.commit({"c": "1"}).sha()

    def run(base: str) -> subprocess.CompletedProcess[str]:
        seen = replace(context(facts(NODE)), sha=head, base_sha=base, base_ref="main;$(touch pwned)")
        tasks = by_id(load_plan(registry.get("ready").plan(seen).to_json()))
        assert {"conflicts", "install", "build", "test", "lint", "test-base", "synthesis"} < set(tasks)
        shell = str(tasks["up-to-date"].shell)
        return subprocess.run(["sh", "-c", shell], cwd=repo.path, capture_output=True, text=True, check=False)

    assert run(old).returncode == 0
    behind = run(new)
    assert (behind.returncode, behind.stdout) == (1, "The head lacks 1 commits of main;$(touch pwned).\n")
    assert not (repo.path / "pwned").exists()


def test_an_unknown_action_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        registry.get("reveiw")
    assert "'review'" in caught.value.hint
