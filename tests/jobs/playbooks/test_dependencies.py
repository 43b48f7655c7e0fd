"""Changed manifests: what alters dependencies is said, what leaves them alone is not."""

from __future__ import annotations

import pytest

from jobs.playbooks import registry
from tests.jobs.playbooks.facts import context, facts

PYPROJECT = "[project]\nname = 'a'\n"
CARGO = "[package]\nname = 'a'\n"
POM = "<project><version>1</version>%s</project>"
# A manifest, what the change adds to it that alters dependencies, and what does not.
CASES = [
    ("pyproject.toml", PYPROJECT, "dependencies = ['x']", "version = '2'"),
    ("pyproject.toml", PYPROJECT, "[project.optional-dependencies]\nt = ['x']", "[tool.a]"),
    ("pyproject.toml", PYPROJECT, "[dependency-groups]\nt = ['x']", "urls.a = 'x'"),
    ("pyproject.toml", PYPROJECT, "[build-system]\nrequires = ['x']", "[tool.ruff]"),
    ("pyproject.toml", "", "[tool.poetry.group.dev.dependencies]\nx = '*'", "[tool.poetry]\nname = 'a'"),
    ("pyproject.toml", "", "[tool.hatch.envs.t]\ndependencies = ['x']", "[tool.hatch.envs.t.env-vars]"),
    ("setup.py", "setup(name='a')\n", "setup(install_requires=['x'])", "setup(version='2')"),
    ("setup.cfg", "[metadata]\n", "[options]\ninstall_requires =\n    x", "name = b"),
    ("setup.cfg", "[metadata]\n", "[options.extras_require]\ntest = x", "[flake8]\nmax = 3"),
    ("requirements-dev.in", "a\n", "b", None),
    ("constraints.txt", "a\n", "b", None),
    ("tox.ini", "[testenv]\n", "deps =\n    x", "commands = x"),
    ("Cargo.toml", CARGO, "[dependencies]\nx = '1'", "version = '2'"),
    ("Cargo.toml", CARGO, "[target.'cfg(unix)'.dependencies]\nx = '1'", "[lib]"),
    ("crates/b/Cargo.toml", CARGO, "[dev-dependencies]\nx = '1'", "[[bin]]\nname = 'x'"),
    ("go.mod", "module a\n", "require x v1", "// b"),
    ("build.gradle", "", "dependencies {\n  testImplementation 'x:y:1'\n}", "version = '2'"),
    ("build.gradle.kts", "", 'dependencies {\n  implementation("x:y:1")\n}', 'version = "2"'),
]


def notes(path: str, old: str, new: str) -> list[str]:
    seen = facts({path: new, "a.py": ""}, base={path: old}, changed=[path])
    return [note["message"] for note in registry.get("review").plan(context(seen)).job["notes"]]


@pytest.mark.parametrize(("path", "old", "adds", "other"), CASES)
def test_a_change_of_dependencies_is_said(path: str, old: str, adds: str, other: str | None) -> None:
    assert f"The change alters dependencies: {path}." in notes(path, old, f"{old}{adds}\n")
    if other is not None:
        assert not any("dependencies" in note for note in notes(path, old, f"{old}{other}\n"))


@pytest.mark.parametrize(
    ("path", "plain", "new", "other"),
    [
        ("package.json", "{}", '{"devDependencies": {"x": "1"}}', '{"version": "2"}'),
        ("package.json", "{}", '{"overrides": {"x": {"y": "1"}}}', '{"scripts": {"a": "b"}}'),
        ("package.json", "{}", '{"dependencies": ', "{ }"),
        ("pom.xml", POM % "", POM % "<dependency><groupId>x</groupId></dependency>", POM % "<name>x</name>"),
        ("pom.xml", POM % "", POM % "<junit.version>2</junit.version>", POM % "<!-- <parent>x</parent> -->"),
    ],
)
def test_of_json_and_xml(path: str, plain: str, new: str, other: str) -> None:
    assert f"The change alters dependencies: {path}." in notes(path, plain, new)
    assert not any("dependencies" in note for note in notes(path, plain, other))
