"""Detection, on manifests as projects write them."""

from __future__ import annotations

import json

import pytest

from jobs.playbooks.base import RepositoryFacts
from jobs.playbooks.detect import Toolchain, detect
from tests.jobs.playbooks.facts import facts

ACTIVE = 'PATH="$PWD/.venv/bin:$PATH"'


def package(**fields: object) -> dict[str, str]:
    return {"package.json": json.dumps({"name": "x", **fields})}


NPM_CI = (
    "if rm node_modules/.offload-kept 2>/dev/null; "
    "then npm install --no-save --prefer-offline --no-audit --no-fund; "
    "else npm ci --no-audit --no-fund; fi"
)
PATH = 'export PATH="$PWD/node_modules/.bin:$PATH" && '
JEST = '--json --outputFile="$OFFLOAD_RESULTS/jest.json" --no-bail'
VITEST = '--reporter=default --reporter=junit --outputFile.junit="$OFFLOAD_RESULTS/vitest.xml" --bail=0'


def only(seen: RepositoryFacts) -> Toolchain:
    (toolchain,) = detect(seen)
    return toolchain


def lines(seen: RepositoryFacts) -> dict[str, str]:
    """Return the shell lines of the only toolchain by the names of their steps."""
    return {step.name: step.shell for step in only(seen).steps}


@pytest.mark.parametrize(
    ("lock", "fields", "tools", "install"),
    [
        ("package-lock.json", {}, ["npm"], NPM_CI),
        ("npm-shrinkwrap.json", {}, ["npm"], NPM_CI),
        ("", {}, ["npm"], "npm install --no-audit --no-fund --no-package-lock"),
        ("pnpm-lock.yaml", {}, ["npm", "pnpm"], "pnpm install --frozen-lockfile"),
        ("pnpm-lock.yaml", {}, ["npm"], "npx --yes pnpm install --frozen-lockfile"),
        ("pnpm-lock.yaml", {"packageManager": "pnpm@9.1.0+sha512.abc"}, ["npm"],
         "npx --yes pnpm@9.1.0 install --frozen-lockfile"),
        ("", {"packageManager": "pnpm@9.1.0"}, ["pnpm"], "pnpm install"),
        ("yarn.lock", {}, ["yarn"], "yarn install --frozen-lockfile --non-interactive"),
        ("yarn.lock .yarnrc.yml", {}, ["yarn"], "yarn install --immutable"),
        ("yarn.lock", {}, [], "yarn install --frozen-lockfile --non-interactive"),
    ],
)  # fmt: skip
def test_node_installs_by_its_lock_file(
    lock: str, fields: dict[str, str], tools: list[str], install: str
) -> None:
    seen = facts(package(devDependencies={"tape": "5"}, **fields), root=lock.split(), tools=tools)
    assert only(seen).by_role("install")[0].shell == install


def test_node_runs_the_scripts_that_are_there() -> None:
    scripts = {
        "build": "tsc -p .",
        "test": "vitest run",
        "lint": "eslint .",
        "typecheck": "tsc --noEmit",
        "start": "node .",
    }
    seen = facts(package(scripts=scripts, devDependencies={"vitest": "1"}), root=["package-lock.json"])
    assert lines(seen) == {
        "npm install": NPM_CI,
        "npm build": "npm run build",
        "npm test": "npm test",
        "npm lint": "npm run lint",
        "npm typecheck": "npm run typecheck",
    }
    assert [step.role for step in only(seen).steps] == ["install", "build", "test", "lint", "types"]


def test_the_placeholder_of_npm_init_is_no_test() -> None:
    scripts = {"test": 'echo "Error: no test specified" && exit 1'}
    assert detect(facts(package(scripts=scripts))) == []


def test_a_test_script_that_lints_first_is_not_linted_twice() -> None:
    scripts = {
        "lint": "eslint .",
        "pretest": "npm run lint",
        "test": "npm run tests-only",
        "tests-only": "nyc tape 'test/**/*.js'",
    }
    seen = facts(package(scripts=scripts))
    assert lines(seen) == {"npm tests-only": "npm run tests-only", "npm lint": "npm run lint"}
    assert only(seen).test_file == PATH + 'tape "$@"'
    covered = {"test": "npm run eslint && nyc -r lcov npm run unit", "unit": "mocha spec -R spec"}
    assert only(facts(package(scripts=covered))).test_file == PATH + 'mocha -R spec "$@"'


@pytest.mark.parametrize(
    ("script", "by_file"),
    [
        ("jest", f'jest --coverage=false {JEST} "$@"'),
        ("NODE_ENV=test jest --ci -i2", f'NODE_ENV=test jest -i2 --coverage=false {JEST} "$@"'),
        ("NODE_OPTIONS=--max-old-space-size=512 TZ=UTC jest",
         f'NODE_OPTIONS=--max-old-space-size=512 TZ=UTC jest --coverage=false {JEST} "$@"'),
        ("cross-env NODE_ENV=test jest --coverage --coverageThreshold '{}'",
         f'cross-env NODE_ENV=test jest --coverage=false {JEST} "$@"'),
        ("dotenv -e .env.test -- jest", f'dotenv -e .env.test -- jest --coverage=false {JEST} "$@"'),
        ("node --experimental-vm-modules node_modules/.bin/jest",
         f'node --experimental-vm-modules node_modules/.bin/jest --coverage=false {JEST} "$@"'),
        ("vitest", f'vitest run --coverage.enabled=false {VITEST} "$@"'),
        ("vitest run --coverage", f'vitest run --coverage.enabled=false {VITEST} "$@"'),
        ("mocha --reporter spec --bail test/*.js", 'mocha --reporter spec "$@"'),
        ("mocha --grep @fast --timeout 5000", 'mocha --timeout 5000 "$@"'),
        ("mocha -r ts-node/register 'test/**/*.ts'", 'mocha -r ts-node/register "$@"'),
        ("nyc --reporter lcov mocha", 'mocha "$@"'),
        ("tsc && c8 ava", f'tsc && {PATH}ava --tap "$@"'),
        ("node --test test/", 'node --test "$@"'),
        ("node --test", 'node --test "$@"'),
        ("node test/index.js", 'node "$1"'),
        ("make check", ""),
        ("npm run unit", ""),
    ],
)  # fmt: skip
def test_node_runs_single_test_files_by_the_runner_of_the_script(script: str, by_file: str) -> None:
    assert only(facts(package(scripts={"test": script}))).test_file == (by_file and PATH + by_file)


@pytest.mark.parametrize(
    ("text", "steps"),
    [("{", 0), ("[]", 0), ('"x"', 0), ('{"scripts": []}', 0), ('{"scripts": {"test": 5}}', 1)],
)
def test_a_broken_package_json_is_not_the_end(text: str, steps: int) -> None:
    assert sum(len(toolchain.steps) for toolchain in detect(facts({"package.json": text}))) == steps


MODERN = """
[build-system]
requires = ["hatchling"]
[project]
name = "x"
[project.optional-dependencies]
docs = ["sphinx"]
tests = ["pytest", "freezegun"]
[dependency-groups]
dev = ["pytest-cov"]
[tool.ruff]
line-length = 100
[tool.mypy]
files = ["src"]
"""


def test_python_with_pyproject() -> None:
    seen = facts({"pyproject.toml": MODERN, "requirements-dev.txt": "tox\n"}, root=["src", "tests"])
    install = lines(seen)["pip install"]
    assert " || uv venv " in install
    assert install[install.index("add -r") :] == " && ".join(
        [
            "add -r requirements-dev.txt",
            "add -e '.[tests]'",
            "add --group dev",
            "add pytest",
            "{ add ruff mypy || for one in ruff mypy; do add $one || "
            'echo "Installing $one failed." >&2; done; }',
        ]
    )
    assert {name: line for name, line in lines(seen).items() if name != "pip install"} == {
        "pytest": f"{ACTIVE} python -m pytest -q",
        "ruff": f"{ACTIVE} ruff check .",
        "mypy": f"{ACTIVE} mypy",
    }
    assert only(seen).test_file == f'{ACTIVE} python -m pytest -q "$@"'


def test_checks_take_the_version_that_the_hooks_pin() -> None:
    hooks = """
repos:
  - repo: https://github.com/astral-sh/ruff-pre-commit
    rev: v0.4.7
    hooks: [{id: ruff}]
  - repo: https://github.com/psf/black-pre-commit-mirror
    rev: 20.8b1
"""
    pyproject = "[project]\nname = 'x'\n[tool.ruff]\n[tool.black]\n"
    found = lines(facts({"pyproject.toml": pyproject, ".pre-commit-config.yaml": hooks}, root=["tests"]))
    assert "add ruff==0.4.7 black==20.8b1 ||" in found["pip install"]
    assert found["black"] == f"{ACTIVE} black --check ."


def test_black_without_a_version_and_mypy_without_files_say_nothing() -> None:
    found = lines(facts({"pyproject.toml": "[project]\nname = 'x'\n[tool.black]\n[tool.mypy]\n"}))
    assert set(found) == {"pip install"}


def test_mypy_is_called_as_the_repository_calls_it() -> None:
    files = {
        "setup.py": "setup()",
        "tox.ini": "[mypy]\n[testenv:types]\ncommands =\n  mypy --strict src {posargs}\n",
    }
    assert lines(facts(files))["mypy"].endswith(" mypy --strict src")


@pytest.mark.parametrize("tools", [["uv"], []])
def test_a_uv_lock_is_honoured_with_and_without_uv(tools: list[str]) -> None:
    seen = facts({"pyproject.toml": MODERN}, root=["uv.lock"], tools=tools)
    install = only(seen).by_role("install")[0]
    assert install.shell.endswith("uv sync --locked --all-extras --all-groups")
    assert ('-m venv "{job_dir}/env/uv"' in install.shell) is not bool(tools)
    assert lines(seen)["ruff"] == f"{ACTIVE} ruff check ."


def test_a_poetry_lock_is_honoured() -> None:
    pyproject = "[tool.poetry]\nname = 'x'\n[build-system]\nrequires = ['poetry-core']\n"
    seen = facts({"pyproject.toml": pyproject}, root=["poetry.lock"], tools=["poetry"])
    assert lines(seen)["poetry install"] == (
        "POETRY_VIRTUALENVS_IN_PROJECT=true poetry install --no-interaction --all-extras"
    )


@pytest.mark.parametrize(
    ("files", "root", "test"),
    [
        ({"setup.py": "setup(tests_require=['pytest'])"}, [], f"{ACTIVE} python -m pytest -q"),
        ({"setup.py": "setup()"}, ["tests"], f"{ACTIVE} python -m pytest -q"),
        ({"setup.py": "setup()"}, ["tests.py", "x.py"],
         f"{ACTIVE} python -m pytest -q -o python_files='test_*.py *_test.py tests.py'"),
        ({"setup.py": "setup()"}, ["tests", "test.py"], f"{ACTIVE} python -m pytest -q"),
        ({"setup.py": "setup()", "pytest.ini": "[pytest]"}, [], f"{ACTIVE} python -m pytest -q"),
        ({"setup.py": "setup()", "tox.ini": "[testenv]\ncommands = python -m unittest"}, ["tests"],
         f"{ACTIVE} python -m unittest discover -s tests $([ -e tests/__init__.py ] && echo -t .)"),
        ({"setup.py": "setup()", "tox.ini": "[testenv]\ncommands = nosetests"}, [],
         f"{ACTIVE} python -m tox -e py"),
        ({"setup.py": "setup()", "noxfile.py": "import nox"}, [], f"{ACTIVE} python -m nox"),
        ({"requirements.txt": "Django==5.2", "manage.py": ""}, [], f"{ACTIVE} python manage.py test"),
    ],
)  # fmt: skip
def test_what_runs_python_tests(files: dict[str, str], root: list[str], test: str) -> None:
    (step,) = only(facts(files, root=root)).by_role("test")
    assert step.shell == test


def test_tests_inside_a_package_are_seen_by_the_change() -> None:
    assert only(facts({"setup.py": "setup()"})).by_role("test") == ()
    assert only(facts({"setup.py": "setup()"}, changed=["toolz/tests/test_x.py"])).by_role("test")


def test_a_pyproject_for_tools_only_is_no_python_project() -> None:
    assert detect(facts({"pyproject.toml": "[tool.codespell]\n"})) == []


def test_rust() -> None:
    files = {"Cargo.toml": '[package]\nname = "x"\n[lints.clippy]\nall = "warn"\n'}
    assert lines(facts(files, root=["Cargo.lock", "rustfmt.toml"])) == {
        "cargo build": "cargo build --all-targets --locked",
        "cargo test": "cargo test --locked",
        "cargo fmt": "cargo fmt --all --check",
        "cargo clippy": "cargo clippy --all-targets --locked",
    }
    assert set(lines(facts({"Cargo.toml": "[package]"}))) == {"cargo build", "cargo test"}
    both = facts(
        {"Cargo.toml": '[package]\nname = "x"\n[workspace]\n[features]\nextra = []\n'}, changed=["src/a.rs"]
    )
    assert lines(both)["cargo test"] == "cargo test --workspace"
    assert detect(both)[0].notes == ("Code behind these features was not tested: extra.",)


def test_go() -> None:
    assert lines(facts({"go.mod": "module example.org/x\n"})) == {
        "go build": "go build ./...",
        "go test": "go test ./...",
        "go vet": "go vet ./...",
    }


@pytest.mark.parametrize(
    ("root", "test", "program"),
    [
        (["pom.xml"], "mvn -B -ntp verify", "mvn"),
        (["pom.xml", "mvnw"], "sh ./mvnw -B -ntp verify", "java"),
        (["build.gradle.kts"], "gradle --console=plain test", "gradle"),
        (["settings.gradle", "gradlew"], "sh ./gradlew --console=plain test", "java"),
    ],
)
def test_java(root: list[str], test: str, program: str) -> None:
    (step,) = only(facts(root=root)).by_role("test")
    assert (step.shell, step.needs_program) == (test, program)
    several = facts(
        {"pom.xml": "<modules><module>a</module></modules>"} if "pom.xml" in root else {}, root=root
    )
    (step,) = only(several).by_role("test")
    assert ("failure.ignore=true verify; exit $code" in step.reported) == ("pom.xml" in root)
    assert ("--continue test" in step.reported) == ("pom.xml" not in root)


MAKEFILE = """
CFLAGS := -O2
.PHONY: all check
all: prog
prog: main.o ; $(CC) -o $@ $<
check lint: prog
\t./run: me
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MAKEFILE, {"make check", "make lint"}),
        ("test: all\n\t./t\ncheck:\n\t./c\nbuild:\n\tcc\n", {"make build", "make test"}),
        ("all: x\n", {"make all"}),
        ("test := yes\nclean:\n", set()),
        ("lib.a: x.o\n", set()),
    ],
)
def test_make_runs_the_targets_that_are_there(text: str, expected: set[str]) -> None:
    found = detect(facts({"Makefile": text}))
    assert {step.shell for toolchain in found for step in toolchain.steps} == expected


def test_just_runs_the_recipes_that_are_there() -> None:
    text = (
        "set shell := ['sh']\nversion := '1'\n\nbuild:\n cc\n@test *args: build\n ./t\nlint path='.':\n x\n"
    )
    assert set(lines(facts({"justfile": text}))) == {"just build", "just test", "just lint"}


def test_a_makefile_counts_where_nothing_else_tests() -> None:
    makefile = {"Makefile": "test:\n\tnpm run x\n"}
    with_tests = {**package(scripts={"test": "jest"}), **makefile}
    assert [toolchain.name for toolchain in detect(facts(with_tests))] == ["node"]
    without = {**package(devDependencies={"mocha": "*"}), **makefile}
    assert [toolchain.name for toolchain in detect(facts(without))] == ["node", "make"]


def test_all_ecosystems_of_a_repository_count() -> None:
    files = {**package(scripts={"test": "jest"}), "pyproject.toml": MODERN, "go.mod": "module x\n"}
    assert [toolchain.name for toolchain in detect(facts(files))] == ["node", "python", "go"]


@pytest.mark.parametrize(
    ("files", "tests", "others"),
    [
        (package(scripts={"test": "jest"}),
         ["test/a.js", "src/a.test.tsx", "src/a.spec.mjs", "src/__tests__/b.ts", "test.js"],
         ["src/a.js", "test/fixtures/a.js", "testing.js", "test/data.json"]),
        ({"setup.py": "setup()"},
         ["tests/test_a.py", "a/test_b.py", "a_test.py", "tests.py"],
         ["tests/conftest.py", "tests/__init__.py", "a/testing.py", "tests/data.txt"]),
        ({"go.mod": "module x"}, ["a/b_test.go"], ["a/b.go", "a/test.go"]),
        ({"Cargo.toml": ""}, ["tests/it.rs"], ["src/lib.rs", "tests/common/mod.rs"]),
        ({"pom.xml": ""}, ["src/test/java/a/BTest.java", "m/src/test/kotlin/B.kt"],
         ["src/main/java/Test.java", "src/test/resources/a.xml"]),
    ],
)  # fmt: skip
def test_which_files_are_tests(files: dict[str, str], tests: list[str], others: list[str]) -> None:
    (toolchain,) = detect(facts(files))
    assert [path for path in [*tests, *others] if toolchain.is_test(path)] == tests


def test_packages_that_the_change_touches_and_their_dependents() -> None:
    def manifest(name: str, **more: object) -> str:
        return json.dumps({"name": name, "scripts": {"test": "node --test"}, **more}, indent=1)

    files = {
        "package.json": '{"private": true}',
        "packages/core/package.json": manifest("@x/core"),
        "packages/web/package.json": manifest("@x/web", dependencies={"@x/core": "*"}),
        "packages/cli/package.json": manifest("@x/cli"),
        "tools/pyproject.toml": "[project]\nname = 'tools'\n[tool.pytest.ini_options]\n",
    }
    found = detect(facts(files, changed=["packages/core/a.js"]))
    assert [toolchain.directory for toolchain in found] == ["packages/core", "packages/web"]
    assert [step.shell for step in found[0].by_role("test")] == ["cd packages/core && npm test"]
    assert found[0].notes == (
        "These packages were not tested, for the change does not touch them: packages/cli, tools.",
    )
    assert found[0].is_test("packages/core/test/a.js")
    assert not found[0].is_test("packages/web/test/a.js")
    tools = detect(facts(files, changed=["tools/test_a.py"]))
    assert [(toolchain.name, toolchain.directory) for toolchain in tools] == [("python", "tools")]


def test_a_root_test_script_reaches_its_packages() -> None:
    files = {
        "package.json": json.dumps(
            {"workspaces": ["packages/*"], "scripts": {"test": "npm test --workspaces"}}
        ),
        "packages/core/package.json": '{"name": "core", "scripts": {"test": "node --test"}}',
    }
    assert [toolchain.directory for toolchain in detect(facts(files, changed=["packages/core/a.js"]))] == [""]


@pytest.mark.parametrize(
    ("files", "installed"),
    [
        ({"requirements/test.txt": "pytest", "setup.py": "setup()"}, "-r requirements/test.txt"),
        ({"pyproject.toml": "[project]\n[tool.pdm.dev-dependencies]\ntest = ['pytest>=8']"}, "'pytest>=8'"),
        ({"pyproject.toml": "[project]\n[tool.hatch.envs.default]\ndependencies = ['pytest']"}, " pytest "),
        (
            {"pyproject.toml": "[build-system]\n[tool.poetry.group.test.dependencies]\npytest = '^8.1'"},
            "'pytest>=8.1'",
        ),
        (
            {"setup.py": "setup()", "tox.ini": "[testenv]\ndeps =\n  pytest\n  mock>=1\n  -rx.txt"},
            "'mock>=1'",
        ),
        (
            {
                "setup.py": "setup()",
                "requirements-tests39.txt": "mock",
                "tox.ini": "[testenv]\ndeps = -r requirements-tests39.txt",
            },
            "add -r requirements-tests39.txt ||",
        ),
        ({"setup.py": "setup()", "pytest.ini": "[pytest]\naddopts = --cov=x"}, "add pytest pytest-cov "),
        (
            {"pyproject.toml": "[project]\n[project.optional-dependencies]\ntest=['a']\ndev=['b']"},
            "{ { add -e '.[test]'; } || { add -e '.[test,dev]'; }; }",
        ),
    ],
)
def test_python_installs_what_the_tests_need(files: dict[str, str], installed: str) -> None:
    (install,) = only(facts(files, root=["tests"])).by_role("install")
    assert installed in install.shell + " ", install.shell


def test_yarn_by_its_version() -> None:
    modern = package(scripts={"test": "jest"}, packageManager="yarn@4.1.0", dependencies={"a": "1"})
    assert lines(facts(modern))["yarn test"] == "npx --yes --package=@yarnpkg/cli-dist@4.1.0 yarn test"
    assert lines(facts(modern, tools=["npm", "corepack"]))["yarn test"] == "corepack yarn test"


def test_what_is_configured_and_does_not_run_is_said() -> None:
    manifest = "[project]\n[tool.mypy]\nstrict = true\n[tool.black]\n"
    seen = facts({"pyproject.toml": manifest}, root=["tests"])
    assert [note.split(" is configured")[0] for note in only(seen).notes] == ["mypy", "black"]


def test_tests_of_a_makefile_that_are_not_the_ecosystems_are_said_to_be_left_out() -> None:
    python = {"setup.py": "setup()", "pytest.ini": "[pytest]"}
    assert only(facts({**python, "Makefile": "test:\n\tcc -o t test.c && ./t\n"})).notes == (
        "`make test` did not run: it tests something else than what was detected.",
    )
    assert only(facts({**python, "Makefile": "test:\n\tpytest -q\n"})).notes == ()
