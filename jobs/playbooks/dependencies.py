"""Which changed manifests alter what is installed: dependencies, not the rest of the file. Pure."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jobs.playbooks.base import ChangedFile

# Files that say nothing else.
_ONLY = re.compile(
    r"(^|/)(package-lock\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml|bun\.lockb?|(uv|poetry|pdm)\.lock"
    r"|pylock[\w.-]*\.toml|Pipfile(\.lock)?|[\w.-]*(requirements|constraints)[\w.-]*\.(txt|in)"
    r"|(requirements|constraints)/[\w.-]+\.(txt|in)|environment\.ya?ml|Cargo\.lock|go\.sum|go\.work\.sum"
    r"|gradle\.lockfile|libs\.versions\.toml|Gemfile(\.lock)?|composer\.lock|\.pnpmfile\.cjs)$"
)
_NODE = (
    *("dependencies", "devDependencies", "peerDependencies", "optionalDependencies", "bundledDependencies"),
    *("bundleDependencies", "overrides", "resolutions", "packageManager", "engines", "workspaces", "catalog"),
)
_UV = ("dev-dependencies", "sources", "constraint-dependencies", "override-dependencies", "index")
_HATCH = ("dependencies", "extra-dependencies", "features")
_CARGO = ("dependencies", "dev-dependencies", "build-dependencies", "patch", "replace", "features")


def altered(changed: Iterable[ChangedFile], before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return the changed paths that alter dependencies. `before` and `after` hold texts of manifests."""
    found = []
    for file in changed:
        if _ONLY.search(file.path):
            found.append(file.path)
            continue
        read = _READERS.get(file.path.rsplit("/", 1)[-1])
        old = before.get(file.old_path or file.path, "")
        if read is not None and _differs(read, old, after.get(file.path, "")):
            found.append(file.path)
    return found


def _differs(read: Callable[[str], Any], old: str, new: str) -> bool:
    if old == new:
        return False
    try:
        return bool(read(old) != read(new))
    except (ValueError, AttributeError, TypeError, RecursionError):
        return True  # a file that cannot be read may say anything


def _package(text: str) -> Any:
    data = json.loads(text or "{}")
    return [data.get(key) or None for key in _NODE] + [(data.get("pnpm") or {}).get("overrides")]


def _pyproject(text: str) -> Any:
    data = tomllib.loads(text)
    project, tool = data.get("project", {}), data.get("tool", {})
    poetry, hatch = tool.get("poetry", {}), tool.get("hatch", {}).get("envs", {})
    uv = tool.get("uv", {})
    return [
        data.get("build-system", {}).get("requires", []),
        _plain(project.get("dependencies", [])),
        {name: _plain(items) for name, items in project.get("optional-dependencies", {}).items()},
        project.get("requires-python"),
        data.get("dependency-groups", {}),
        [poetry.get(key, {}) for key in ("dependencies", "dev-dependencies", "extras")],
        {name: group.get("dependencies", {}) for name, group in poetry.get("group", {}).items()},
        tool.get("pdm", {}).get("dev-dependencies", {}),
        [uv.get(key) for key in _UV],
        [(name, key, env[key]) for name, env in hatch.items() for key in _HATCH if env.get(key)],
        tool.get("setuptools", {}).get("dynamic", {}).get("dependencies"),
    ]  # fmt: skip


def _plain(items: Sequence[str]) -> list[str]:
    return sorted(items)


def _cargo(text: str) -> Any:
    data = tomllib.loads(text)
    tables = [data, data.get("workspace", {}), *data.get("target", {}).values()]
    return [[table.get(key) or None for key in _CARGO] for table in tables]


def _go(text: str) -> Any:
    plain = re.sub(r"//.*", "", text)
    return sorted(
        line for line in (" ".join(line.split()) for line in plain.splitlines())
        if line and not line.startswith("module ")
    )  # fmt: skip


def _maven(text: str) -> Any:
    first, *rest = text.split("<!--")
    plain = first + "".join(part.partition("-->")[2] for part in rest)
    blocks = re.findall(r"<(dependency|parent|plugin|extension)>(.{0,3000}?)</\1>", plain, re.DOTALL)
    versions = re.findall(r"<([\w.-]{1,80}[.-]version)>([^<]{0,100})<", plain)
    return [[(name, "".join(body.split())) for name, body in blocks], versions]


_GRADLE_LINE = re.compile(
    r"^\s*(?:\w*(?:[iI]mplementation|[aA]pi|[cC]ompile(?:Only)?|[rR]untime(?:Only)?|Processor|classpath|platform"
    r"|[kK]apt)\b.*|(?:id|kotlin|alias)\b.*\bversion\b.*)$",
    re.MULTILINE,
)


def _gradle(text: str) -> Any:
    return sorted(" ".join(line.split()) for line in _GRADLE_LINE.findall(text))


_SETUP_KEYS = r"(?:install_requires|extras_require|tests_require|setup_requires|python_requires)"
# An option of an ini file, with the lines that go on from it.
_INDENTED = r"[ \t]*[=:].*\n(?:[ \t]+.*\n|\n)*"


def _setup_py(text: str) -> Any:
    plain = re.sub(r"#.*", "", text)
    value = r"(\[[^\]]{0,5000}\]|\{[^}]{0,5000}\}|['\"][^'\"]{0,200}['\"]|[\w.]{1,200})"
    return ["".join(one.split()) for one in re.findall(rf"\b{_SETUP_KEYS}\s*=\s*{value}", plain)]


def _setup_cfg(text: str) -> Any:
    keys = re.findall(rf"^{_SETUP_KEYS}{_INDENTED}", text + "\n", re.MULTILINE)
    extras = re.findall(r"^\[options\.extras_require\]\n(?:(?!\[).*\n)*", text + "\n", re.MULTILINE)
    return [" ".join(one.split()) for one in [*keys, *extras]]


def _tox(text: str) -> Any:
    keys = rf"^(?:deps|extras|dependency_groups|requires){_INDENTED}"
    return [" ".join(one.split()) for one in re.findall(keys, text + "\n", re.MULTILINE)]


def _catalogs(text: str) -> Any:
    found = re.findall(r"^(?:catalogs?|overrides):.*\n(?:[ \t]+.*\n|\n)*", text + "\n", re.MULTILINE)
    return [" ".join(one.split()) for one in found]


_READERS: Mapping[str, Callable[[str], Any]] = {
    "package.json": _package,
    "pyproject.toml": _pyproject,
    "Cargo.toml": _cargo,
    "go.mod": _go,
    "pom.xml": _maven,
    "build.gradle": _gradle,
    "build.gradle.kts": _gradle,
    "setup.py": _setup_py,
    "setup.cfg": _setup_cfg,
    "tox.ini": _tox,
    "pnpm-workspace.yaml": _catalogs,
}

__all__ = ["altered"]
