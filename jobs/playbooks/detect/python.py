"""Python: uv, Poetry and pip; pytest, tox, nox and unittest; ruff, flake8, black, mypy, pyright."""

from __future__ import annotations

import configparser
import re
import shlex
import tomllib
from collections.abc import Sequence
from typing import Any

from jobs.playbooks.base import RepositoryFacts
from jobs.playbooks.detect.base import ENV, Step, Toolchain, has

_TEST_PATH = r"(^|/)(test_[^/]*|[^/]*_test|tests?)\.py$"
_MYPY_FILES = ("mypy.ini", ".mypy.ini")
_EXTRAS = ("test", "tests", "testing", "dev")
_REQUIREMENTS = re.compile(
    r"requirements\.txt|requirements[-_.](dev|develop|development|tests?|testing|ci)\.txt"
    r"|(dev|tests?|testing)[-_.]requirements\.txt|requirements/"
    r"(base|main|common|dev|develop|development|tests?|testing|ci)\.txt"
)
_MANIFEST = re.compile(
    r"pyproject\.toml|setup\.(py|cfg)|tox\.ini|noxfile\.py|requirements.*\.txt|[Mm]akefile|pytest\.ini"
)
# What makes a runner name each test that it runs.
_VERBOSE = {"unittest": " -v", "django": " -v 2"}
_PIP = f"./{ENV}/bin/python -m pip install --quiet --disable-pip-version-check"
# uv is several times as fast as pip. It does not read pip's settings, so what it cannot install pip tries.
_UV = (
    f'uv="$(command -v uv || echo ./{ENV}/bin/uv) pip install --quiet --python ./{ENV}/bin/python"; '
    '[ -z "$PIP_INDEX_URL" ] || export UV_DEFAULT_INDEX="$PIP_INDEX_URL"; '
    '[ -z "$PIP_EXTRA_INDEX_URL" ] || export UV_INDEX="$PIP_EXTRA_INDEX_URL"; '
)
# An environment that is there already has uv in it, or uv finds it. Else pip fetches uv from outside: to copy
# pip into the environment first would take longer than all the rest. An old pip (before 22.3) cannot.
_VENV = (
    f"{{ [ -x ./{ENV}/bin/uv ] || "
    f'uv venv --quiet --allow-existing --python "{{python}}" {ENV} 2>/dev/null || '
    f'{{ "{{python}}" -m venv --without-pip {ENV} && "{{python}}" -m pip --python ./{ENV}/bin/python install '
    "--quiet --no-compile --disable-pip-version-check uv 2>/dev/null; } || "
    f'{{ "{{python}}" -m venv {ENV} && {{ {_PIP} uv || true; }}; }}; }}'
)
# What every environment of venv's has. Later versions of Python have no setuptools there.
_SEED = (
    f"{{ ./{ENV}/bin/python -c 'import pip' 2>/dev/null || $uv pip "
    f"$(./{ENV}/bin/python -c 'import sys; print(\"setuptools\" * (sys.version_info < (3, 12)))') "
    f"|| ./{ENV}/bin/python -m ensurepip >/dev/null; }}"
)


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}


def _ini(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return configparser.ConfigParser()
    return parser


def _section(text: str, name: str) -> set[str]:
    parser = _ini(text)
    return set(parser[name]) if parser.has_section(name) else set()


class _Project:
    """What the manifests of one Python project say."""

    def __init__(self, facts: RepositoryFacts) -> None:
        self.facts = facts
        self.pyproject = _toml(facts.files.get("pyproject.toml", ""))
        self.tool: dict[str, Any] = self.pyproject.get("tool", {})
        self.ini = {
            section
            for name in ("setup.cfg", "tox.ini")
            for section in _ini(facts.files.get(name, "")).sections()
        }
        self.text = "\n".join(text for name, text in facts.files.items() if _MANIFEST.fullmatch(name))

    @property
    def installable(self) -> bool:
        return (
            "project" in self.pyproject
            or "build-system" in self.pyproject
            or has(self.facts, "setup.py")
            or bool({"metadata", "options"} & self.ini)
        )

    @property
    def extras(self) -> list[str]:
        declared = self.pyproject.get("project", {}).get("optional-dependencies", {})
        names = set(declared)
        in_cfg = self.facts.files.get("setup.cfg", "")
        match = re.search(r"^\[options\.extras_require\]\n(?P<body>(?:(?!\[).*\n?)*)", in_cfg, re.MULTILINE)
        if match:
            names |= set(re.findall(r"^([A-Za-z0-9_-]+)\s*=", match["body"], re.MULTILINE))
        if "extras_require" in self.facts.files.get("setup.py", ""):
            names |= {
                name for name in _EXTRAS if re.search(rf"['\"]{name}['\"]\s*:", self.facts.files["setup.py"])
            }
        return [name for name in _EXTRAS if name in names]

    @property
    def further(self) -> list[str]:
        """Return requirements of the tests in tables of PDM, Hatch, Poetry (without its lock) and tox."""
        found: list[str] = []
        for table in (
            self.tool.get("pdm", {}).get("dev-dependencies", {}),
            self.tool.get("uv", {}),
        ):
            for name, value in table.items() if isinstance(table, dict) else ():
                if name in (*_EXTRAS, "dev-dependencies") and isinstance(value, list):
                    found += [one for one in value if isinstance(one, str) and not one.startswith("-e")]
        for name, environment in self.tool.get("hatch", {}).get("envs", {}).items():
            if name in ("default", "hatch-test", *_EXTRAS) and isinstance(environment, dict):
                for key in ("dependencies", "extra-dependencies"):
                    found += [one for one in environment.get(key, []) if isinstance(one, str)]
        poetry = self.tool.get("poetry", {})
        for name, group in {
            **poetry.get("group", {}),
            "dev-dependencies": {"dependencies": poetry.get("dev-dependencies", {})},
        }.items():
            if name in (*_EXTRAS, "dev-dependencies") and isinstance(group, dict):
                found += [
                    _poetry_requirement(one, value) for one, value in group.get("dependencies", {}).items()
                ]
        if not (self.extras or self.groups or found) and self.runner != "tox":
            found += _tox_requirements(self.facts.files.get("tox.ini", ""))
        return list(dict.fromkeys(one for one in found if one))

    @property
    def groups(self) -> list[str]:
        return [name for name in _EXTRAS if name in self.pyproject.get("dependency-groups", {})]

    @property
    def is_django(self) -> bool:
        return has(self.facts, "manage.py") and "django" in self.text.lower()

    @property
    def has_tests(self) -> bool:
        # Of what lies deeper only the changed files are known.
        known = (*self.facts.root_entries, *(file.path for file in self.facts.changed))
        return has(self.facts, "tests", "test") or any(re.search(_TEST_PATH, name) for name in known)

    @property
    def runner(self) -> str:
        """Return what runs the tests: pytest wherever it is named, then what is configured."""
        if self.uses_pytest:
            return "pytest"
        if self.is_django:
            return "django"
        if re.search(r"\bunittest\b", self.text):
            return "unittest"
        if has(self.facts, "tox.ini"):
            return "tox"
        if has(self.facts, "noxfile.py"):
            return "nox"
        if not self.has_tests:
            return ""
        # pytest runs unittest's tests as well, but a locked environment holds it only by name.
        return "unittest" if self.locked else "pytest"

    @property
    def checks(self) -> list[tuple[str, str, str]]:
        """Return the configured checks: program, role, line."""
        ini, tool = self.ini, self.tool
        found = (
            ("ruff", "lint", "ruff" in tool or has(self.facts, "ruff.toml", ".ruff.toml"), "ruff check ."),
            (
                "flake8",
                "lint",
                "flake8" in ini or has(self.facts, ".flake8"),
                f"flake8 --extend-exclude={ENV} .",
            ),
            ("black", "lint", "black" in tool, _black(self)),
            ("mypy", "types", "mypy" in tool or "mypy" in ini or has(self.facts, *_MYPY_FILES), _mypy(self)),
            ("pyright", "types", "pyright" in tool or has(self.facts, "pyrightconfig.json"), "pyright"),
        )
        return [(name, role, line) for name, role, configured, line in found if configured and line]

    @property
    def locked(self) -> bool:
        return has(self.facts, "uv.lock", "poetry.lock")

    @property
    def uses_pytest(self) -> bool:
        return (
            "pytest" in self.tool
            or has(self.facts, "pytest.ini", "conftest.py", ".pytest.ini", "pytest.toml")
            or bool({"pytest", "tool:pytest"} & self.ini)
            or bool(re.search(r"\bpytest\b", self.text))
        )


def _poetry_requirement(name: str, value: Any) -> str:
    """Return a dependency of Poetry's as pip writes it: a caret or tilde becomes a lower bound."""
    version = value.get("version", "*") if isinstance(value, dict) else value
    if name == "python" or not isinstance(version, str):
        return ""
    bound = re.match(r"[\^~]\s*([\w.]+)", version)
    if bound:
        return f"{name}>={bound[1]}"
    if re.fullmatch(r"[\d.]+", version):
        return f"{name}=={version}"
    return name if version == "*" else f"{name}{version.replace(' ', '')}"


def _tox_requirements(text: str) -> list[str]:
    """Return the plain requirements of `[testenv] deps`; files, variables and conditions are left out."""
    parser = _ini(text)
    if not parser.has_option("testenv", "deps"):
        return []
    lines = [line.split("#")[0].strip() for line in parser["testenv"]["deps"].splitlines()]
    return [line for line in lines if re.fullmatch(r"[A-Za-z0-9][\w.\[\],-]*\s*([<>=!~]=?[^{}:]*)?", line)]


def _tox_files(project: _Project) -> list[str]:
    """Return the requirement files that `[testenv] deps` names and that nothing else installs."""
    parser = _ini(project.facts.files.get("tox.ini", ""))
    named = parser.get("testenv", "deps", fallback="") if parser.has_section("testenv") else ""
    found = re.findall(r"^\s*-r\s*(?:\{toxinidir\}/)?([\w./-]+)", named, re.MULTILINE)
    return [name for name in found if name in project.facts.files and not _REQUIREMENTS.fullmatch(name)]


def _choices(names: Sequence[str]) -> list[list[str]]:
    """Return which names to try to install, in order: those for tests alone first, then all."""
    tests = [name for name in names if name != "dev"]
    tried = [tests, list(names)] if tests != list(names) else [tests]
    return [one for one in tried if one]


def _first_of(lines: list[str]) -> str:
    return lines[0] if len(lines) == 1 else "{ " + " || ".join(f"{{ {line}; }}" for line in lines) + "; }"


def _pip_install(project: _Project) -> str:
    # pip from 25.1 on knows dependency groups.
    upgrade = f"{_PIP} --upgrade pip && " if project.groups else ""
    lines = [
        _VENV,
        "{ " + _UV + f'add() {{ UV_LINK_MODE=copy $uv "$@" || {{ {upgrade}{_PIP} "$@"; }}; }}; }}',
        _SEED,
    ]
    for name in sorted(name for name in project.facts.files if _REQUIREMENTS.fullmatch(name)):
        lines.append(f"add -r {name}")
    # They may be meant for another version of Python.
    lines += [f"{{ add -r {name} || echo 'Installing {name} failed.' >&2; }}" for name in _tox_files(project)]
    if project.installable:
        # What one extra cannot install (conflicting pins, another platform) the next may.
        choices = [f"add -e '.[{','.join(names)}]'" for names in _choices(project.extras)]
        lines.append(_first_of(choices or ["add -e ."]))
    if project.groups:
        lines.append(
            _first_of(
                [" && ".join(f"add --group {name}" for name in names) for names in _choices(project.groups)]
            )
        )
    if project.further:
        lines.append(f"add {' '.join(shlex.quote(one) for one in project.further)}")
    if project.runner in ("pytest", "tox", "nox"):
        # With an option of a plugin that is not there, pytest runs nothing.
        options = _options(project) if project.runner == "pytest" else ""
        plugins = [plugin for option, plugin in _PLUGINS.items() if option in options]
        lines.append(f"add {' '.join([project.runner, *plugins])}")
    if project.checks:
        # Here and not in their own tasks, which run side by side in one environment.
        names = " ".join(_pinned(project, name) for name, _, _ in project.checks)
        # One that cannot be installed does not keep the others away.
        each = f'for one in {names}; do add $one || echo "Installing $one failed." >&2; done'
        lines.append(f"{{ add {names} || {each}; }}" if " " in names else f"{{ {each}; }}")
    return " && ".join(lines)


def _commands(project: _Project) -> tuple[str, str, str]:
    """Return what installs, its line, and the prefix that runs a program in the environment."""
    activated = f'PATH="$PWD/{ENV}/bin:$PATH" '
    if has(project.facts, "uv.lock"):
        fetch, uv = _tool(project, "uv")
        return (
            "uv",
            f"{fetch}UV_PROJECT_ENVIRONMENT={ENV} UV_LINK_MODE=copy {uv} sync --locked {_uv_choice(project)}",
            activated,
        )
    if has(project.facts, "poetry.lock"):
        fetch, poetry = _tool(project, "poetry")
        line = f"{fetch}POETRY_VIRTUALENVS_IN_PROJECT=true {poetry} install --no-interaction --all-extras"
        return "poetry", line, activated
    return "pip", _pip_install(project), activated


def _uv_choice(project: _Project) -> str:
    """Return what `uv sync` installs: everything, unless extras or groups conflict."""
    table = project.tool.get("uv", {})
    everything = "--all-packages " if "workspace" in table else ""
    if "conflicts" not in table:
        return f"{everything}--all-extras --all-groups"
    chosen = [f"--extra {name}" for name in project.extras] + [f"--group {name}" for name in project.groups]
    return everything + " ".join(chosen)


def _tool(project: _Project, name: str) -> tuple[str, str]:
    """Return the line that fetches a tool which the worker lacks, and how the tool is called."""
    if name in project.facts.tools:
        return "", name
    # Not into the project's environment, which the tool would clean of itself.
    home = f'"{{job_dir}}/env/{name}"'
    return f'"{{python}}" -m venv {home} && {home}/bin/pip install --quiet {name} && ', f"{home}/bin/{name}"


def _test(project: _Project, prefix: str) -> tuple[str, str]:
    """Return the line that runs all tests and the one that runs single files."""
    python = f"{prefix}python -m"
    match project.runner:
        case "pytest":
            return f"{python} pytest -q{_root_tests(project)}", f'{python} pytest -q {_single(project)}"$@"'
        case "django":
            label = 'label=${1%.py}; label=$(printf %s "$label" | tr / .)'
            by_file = f'{label}; {prefix}python manage.py test -v 2 "$label"'
            return f"{prefix}python manage.py test", by_file
        case "tox":
            return f"{python} tox -e py", ""
        case "nox":
            return f"{python} nox", ""
        case "unittest":
            where = next((name for name in ("tests", "test") if has(project.facts, name)), ".")
            # Only a package may be imported from the top.
            top = f"$([ -e {where}/__init__.py ] && echo -t .)"
            known = re.search(r"\bunittest discover (?P<options>-[^\n;&|#'\"]*)", project.text)
            options = known["options"].strip() if known else f"-s {where} {top}"
            return f"{python} unittest discover {options}", f'{python} unittest -v "$1"'
    return "", ""


def _root_tests(project: _Project) -> str:
    """Return the option that has pytest collect a root's `tests.py` too, which it does not by itself."""
    names = [name for name in ("tests.py", "test.py") if has(project.facts, name)]
    collected = any(
        re.fullmatch(r"tests?|testing|test_.*\.py|.*_test\.py", name) for name in project.facts.root_entries
    )
    configured = re.search(r"\b(python_files|testpaths)\b", _configuration(project))
    if not names or collected or configured:
        return ""
    return f" -o python_files='test_*.py *_test.py {' '.join(names)}'"


def _options(project: _Project) -> str:
    """Return everything that configures pytest."""
    return "\n".join(
        [str(project.tool.get("pytest", {})), *(_ini_section(project, name) for name in _PYTEST_FILES)]
    )


def _single(project: _Project) -> str:
    """Return the options with which pytest runs single files, whatever its configuration selects."""
    options = ""
    configured = _options(project)
    if "--cov" in configured:
        options += "--no-cov "  # its threshold is for the whole suite
    if re.search(r"(^|[\s'\"\[,=])-m\b", configured):
        options += "-m '' "
    return options


_PLUGINS = {"--cov": "pytest-cov", "asyncio_mode": "pytest-asyncio", "--timeout": "pytest-timeout"}
_PYTEST_FILES = ("pytest.ini", ".pytest.ini", "tox.ini", "setup.cfg")


def _ini_section(project: _Project, name: str) -> str:
    parser = _ini(project.facts.files.get(name, ""))
    return "\n".join(
        f"{key} = {value}"
        for section in ("pytest", "tool:pytest")
        if parser.has_section(section)
        for key, value in parser[section].items()
    )


def _configuration(project: _Project) -> str:
    """Return what decides which tests run, in addition to the command."""
    parts = [str(project.tool.get("pytest", ""))] if "pytest" in project.tool else []
    parts += [text for name in _PYTEST_FILES if (text := _ini_section(project, name))]
    if project.runner in ("tox", "nox"):
        parts += [project.facts.files.get(name, "") for name in ("tox.ini", "noxfile.py")]
    return "\n".join(parts)


def _notes(project: _Project) -> list[str]:
    """Return what is configured and does not run, with the reason."""
    found = []
    named = {name for name, _, _ in project.checks}
    ini, tool = project.ini, project.tool
    if ("mypy" in tool or "mypy" in ini or has(project.facts, *_MYPY_FILES)) and "mypy" not in named:
        found.append("mypy is configured and did not run: nothing says which files it is to check.")
    if "black" in tool and "black" not in named:
        found.append("black is configured and did not run: no version is pinned.")
    if has(project.facts, "tox.ini") and project.runner not in ("tox", ""):
        environments = re.findall(r"^\[testenv:([\w.-]+)\]", project.facts.files.get("tox.ini", ""), re.M)
        known = re.compile(r"py|lint|flake|mypy|docs?|black|format|cover|report")
        further = [name for name in environments if not known.match(name)]
        if further:
            found.append(f"These tox environments did not run: {', '.join(further[:5])}.")
    return found


def detect(facts: RepositoryFacts) -> Toolchain | None:
    """Read pyproject.toml, setup.cfg, setup.py, tox.ini and the requirement files."""
    manifests = ("pyproject.toml", "setup.py", "setup.cfg", "tox.ini", "noxfile.py", "requirements.txt")
    if not any(name in facts.files or has(facts, name) for name in manifests):
        return None
    project = _Project(facts)
    if (
        not project.installable
        and not project.uses_pytest
        and not has(facts, "requirements.txt", "tox.ini", "noxfile.py")
    ):
        # A pyproject.toml that only configures tools (of a Rust or Node project, say).
        return None
    program, install, prefix = _commands(project)
    steps = [Step("install", f"{program} install", install)]
    everything, by_file = _test(project, prefix)
    if everything:
        steps.append(
            Step(
                "test", project.runner, everything,
                reported=everything + _VERBOSE.get(project.runner, ""),
                body=everything + _configuration(project),
            )
        )  # fmt: skip
    steps += [Step(role, name, f"{prefix}{line}") for name, role, line in project.checks]
    return Toolchain(
        "python", tuple(steps), test_file=by_file, test_path=_TEST_PATH, notes=tuple(_notes(project))
    )


def _mypy(project: _Project) -> str:
    """Return the mypy command; empty when the repository does not say what mypy is to look at."""
    configured: set[str] = set(project.tool.get("mypy", {}))
    for name in (*_MYPY_FILES, "setup.cfg"):
        configured |= _section(project.facts.files.get(name, ""), "mypy")
    if configured & {"files", "packages", "modules"}:
        return "mypy"
    called = re.search(r"^\s*(?:[\w$(){}]+ -m )?mypy (?P<args>[\w./-][\w./ =-]*)", project.text, re.MULTILINE)
    return f"mypy {called['args'].strip()}" if called else ""


def _black(project: _Project) -> str:
    """Return the black command; empty when no version is pinned, for its style differs between versions."""
    return "black --check ." if _pinned(project, "black") != "black" else ""


def _pinned(project: _Project, name: str) -> str:
    """Return what pip installs: the version that the repository pins, if it does."""
    hooks = project.facts.files.get(".pre-commit-config.yaml", "")
    match = re.search(
        rf"repo:\s*\S*[/-]{name}(?:-pre-commit)?(?:-mirror)?(?:\.git)?/?['\"]?\s*\n\s*rev:\s*['\"]?v?(?P<rev>\d[\w.]*)\b",
        hooks,
    )
    match = match or re.search(rf"\b{name}\s*==\s*(?P<rev>\d[\w.]*)\b", project.text)
    return f"{name}=={match['rev']}" if match else name
