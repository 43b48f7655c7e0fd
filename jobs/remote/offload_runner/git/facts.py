"""What a playbook may know about a repository: manifests, changed files, tools. Read from git, not disk."""

from __future__ import annotations

import os
import re
import shutil
from typing import Any, Dict, List, NamedTuple

from jobs.remote.offload_runner.git.command import Git, raw, split, text

FILE_LIMIT = 256 * 1024  # bytes; a larger manifest is left out rather than cut
_MANIFESTS = re.compile(
    r"package\.json|pyproject\.toml|setup\.cfg|setup\.py|tox\.ini|noxfile\.py|requirements[\w.-]*\.txt|pytest\.ini"
    r"|Cargo\.toml|go\.mod|pom\.xml|(build|settings)\.gradle(\.kts)?|[Mm]akefile|GNUmakefile|\.?[Jj]ustfile"
    r"|\.pre-commit-config\.yaml|\.?ruff\.toml|\.?mypy\.ini|\.flake8|\.eslintrc(\.\w+)?|eslint\.config\.\w+"
    r"|tsconfig(\.\w+)?\.json|biome\.jsonc?|deno\.jsonc?|\.nvmrc|\.python-version|\.tool-versions|go\.work"
    r"|pnpm-workspace\.yaml|manage\.py|\.gitattributes|\.gitmodules"
)
_NESTED_MANIFESTS = (".offload/config.toml",)
# Manifests below the root, for repositories of several packages. Their number and depth are bounded.
_PACKAGE = re.compile(
    r"(?:[^/]+/){1,3}(package\.json|pyproject\.toml|setup\.(py|cfg)|pytest\.ini|tox\.ini"
    r"|Cargo\.toml|go\.mod|[Mm]akefile)|requirements/[\w.-]+\.txt"
)
_NO_PACKAGE = re.compile(
    r"(^|/)(node_modules|vendor|third_party|fixtures?|testdata|test-?projects?|examples?|templates?|docs?"
    r"|\.\w+)/"
)
_MOST_PACKAGES = 200
TOOLS = """
bash git python python3 uv pip pipx poetry pdm hatch tox nox pytest ruff mypy pre-commit
node npm npx pnpm yarn bun deno corepack cargo rustc go gofmt golangci-lint java javac mvn gradle
make cmake ninja gcc cc g++ clang just task dotnet ruby bundle php composer docker gh gemini claude codex
""".split()  # noqa: SIM905 - a list of one word a line would be a page long


class Entry(NamedTuple):
    """A line of `git ls-tree`."""

    mode: str
    sha: str
    size: int
    path: str


def collect(git: Git, sha: str, base_sha: str, merge_base: str) -> Dict[str, Any]:
    """Return the `facts` of a `prepared` answer. `base_sha` and `merge_base` may be "" (no base)."""
    entries = tree(git, sha)
    files = manifests(git, sha, entries)
    started = tree(git, merge_base) if merge_base and merge_base != base_sha else None
    return {
        "root_entries": [entry.path for entry in entries if "/" not in entry.path],
        "files": files,
        "base_files": manifests(git, base_sha, tree(git, base_sha)) if base_sha else {},
        "merge_base_files": manifests(git, merge_base, started) if started is not None else None,
        "merge_base_entries": [entry.path for entry in started if "/" not in entry.path]
        if started is not None
        else None,
        "changed": changed(git, merge_base, sha) if merge_base else [],
        "tools": tools(),
        "cores": cores(),
        "has_submodules": any(entry.path == ".gitmodules" for entry in entries),
        "has_lfs": bool(re.search(r"\bfilter=lfs\b", files.get(".gitattributes", ""))),
    }


def tree(git: Git, sha: str) -> List[Entry]:
    """Return the entries of a commit's root, and the known manifests below it."""
    names = [text(name) for name in split(git.out("ls-tree", "-r", "-z", "--name-only", sha))]
    nested = [name for name in names if _PACKAGE.fullmatch(name) and not _NO_PACKAGE.search(name)]
    wanted = [*_NESTED_MANIFESTS, *nested[:_MOST_PACKAGES]]
    lines = split(git.out("ls-tree", "-z", "-l", sha)) + split(
        git.out("ls-tree", "-z", "-l", sha, "--", *wanted)
    )
    found = []
    for line in lines:
        about, _, path = line.partition(b"\t")
        mode, _, entry, size = about.decode("ascii").split()
        found.append(Entry(mode, entry, int(size) if size.isdigit() else 0, text(path)))
    return found


def manifests(git: Git, sha: str, entries: List[Entry]) -> Dict[str, str]:
    """Return the text of the known manifests of a commit. Symbolic links are not followed."""
    known = [
        entry
        for entry in entries
        if entry.mode.startswith("100")
        and entry.size <= FILE_LIMIT
        and (
            _MANIFESTS.fullmatch(entry.path)
            or entry.path in _NESTED_MANIFESTS
            or _PACKAGE.fullmatch(entry.path)
        )
    ]
    if not known:
        return {}
    asked = "".join(entry.sha + "\n" for entry in known).encode()
    answer = git.run("cat-file", "--batch", input=asked).stdout
    found, at = {}, 0
    for entry in known:
        at = answer.index(b"\n", at) + 1
        found[entry.path] = answer[at : at + entry.size].decode("utf-8", "replace")
        at += entry.size + 1
    return found


def changed(git: Git, base: str, sha: str) -> List[Dict[str, Any]]:
    """Return the files that differ between two commits: path, status, old_path, binary, added, deleted."""
    output = git.out("diff", "--raw", "--numstat", "-z", "-M", "--no-ext-diff", "--no-textconv", "--no-color",
                     "--ignore-submodules=none", base, sha, "--")  # fmt: skip
    tokens = iter(split(output))
    found: Dict[str, Dict[str, Any]] = {}
    for token in tokens:
        if token.startswith(b":"):  # :mode mode sha sha STATUS, then one path, or two for a rename
            status = token.rsplit(b" ", 1)[1].decode("ascii")[0]
            old = text(next(tokens)) if status in "RC" else ""
            path = text(next(tokens))
            found[path] = {
                "path": path, "status": status, "old_path": old, "binary": False, "added": 0, "deleted": 0,
            }  # fmt: skip
            continue
        added, deleted, name = token.split(b"\t", 2)  # of a rename the name is empty, and two more follow
        if not name:
            next(tokens)
            name = next(tokens)
        if added == b"-":
            found[text(name)]["binary"] = True
        else:
            found[text(name)].update(added=int(added), deleted=int(deleted))
    return sorted(found.values(), key=lambda item: raw(item["path"]))


def tools() -> Dict[str, str]:
    """Return the programs that playbooks know and this machine has: name -> path."""
    found = {name: shutil.which(name) for name in TOOLS}
    return {name: path for name, path in found.items() if path}


def cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
