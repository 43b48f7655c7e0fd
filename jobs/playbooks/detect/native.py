"""Rust and Go: one tool each."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

from jobs.playbooks.base import RepositoryFacts
from jobs.playbooks.detect.base import Step, Toolchain, has


def rust(facts: RepositoryFacts) -> Toolchain | None:
    """Cargo: build, test, and fmt or clippy where the repository configures them."""
    if "Cargo.toml" not in facts.files:
        return None
    manifest = _table(facts.files["Cargo.toml"])
    locked = " --locked" if has(facts, "Cargo.lock") else ""
    # From a package at the top, cargo leaves out the other packages of its workspace.
    everything = " --workspace" if {"workspace", "package"} <= manifest.keys() else ""
    steps = [
        Step("build", "cargo build", f"cargo build --all-targets{everything}{locked}", "cargo"),
        Step(
            "test",
            "cargo test",
            f"cargo test{everything}{locked}",
            "cargo",
            reported=f"cargo test --no-fail-fast{everything}{locked}",
        ),
    ]
    if has(facts, "rustfmt.toml", ".rustfmt.toml"):
        steps.append(Step("lint", "cargo fmt", "cargo fmt --all --check", "cargo"))
    if has(facts, "clippy.toml", ".clippy.toml") or "[lints" in facts.files["Cargo.toml"]:
        steps.append(Step("lint", "cargo clippy", f"cargo clippy --all-targets{everything}{locked}", "cargo"))
    # An integration test is a target, named after its file.
    by_file = f'name=${{1##*/}}; cargo test{everything}{locked} --test "${{name%.rs}}"'
    notes = tuple(_untested_features(facts))
    return Toolchain("rust", tuple(steps), by_file, r"(^|/)tests/[^/]+\.rs$", notes=notes)


def _table(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}


def _untested_features(facts: RepositoryFacts) -> Iterator[str]:
    """Return a note about the features of the packages that a change touches and that are off by default."""
    for path, text in sorted(facts.files.items()):
        folder, _, name = path.rpartition("/")
        if name != "Cargo.toml":
            continue
        inside = f"{folder}/" if folder else ""
        if not any(file.path.startswith(inside) and file.path.endswith(".rs") for file in facts.changed):
            continue
        features = _table(text).get("features", {})
        if not isinstance(features, dict):
            continue
        on, waiting = {"default"}, list(features.get("default", []))
        while waiting:
            one = str(waiting.pop())
            if one not in on:
                on.add(one)
                waiting += features.get(one, [])
        off = [name for name in features if name not in on]
        if off:
            more = f" and {len(off) - 5} more" if len(off) > 5 else ""
            yield f"Code behind these features was not tested: {', '.join(off[:5])}{more}."


def go(facts: RepositoryFacts) -> Toolchain | None:
    """Go: build, test, vet."""
    if "go.mod" not in facts.files:
        return None
    steps = (
        Step("build", "go build", "go build ./...", "go"),
        Step("test", "go test", "go test ./...", "go", reported="go test -v ./..."),
        Step("lint", "go vet", "go vet ./...", "go"),
    )
    # Go tests packages, not files. A tag that a file asks for is set, unless it names a platform.
    by_file = (
        "tags=$(sed -n 's,^//go:build \\([a-z][A-Za-z0-9_]*\\)$,\\1,p' \"$1\" | head -n 1); "
        "case $tags in windows|darwin|*bsd|plan9|solaris|js|wasm|ignore) tags=;; esac; "
        'go test -v ${tags:+-tags "$tags"} "./$(dirname "$1")"'
    )
    return Toolchain("go", steps, by_file, r"_test\.go$")
