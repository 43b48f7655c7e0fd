"""Rust and Go: one tool each."""

from __future__ import annotations

from jobs.playbooks.base import RepositoryFacts
from jobs.playbooks.detect.base import Step, Toolchain, has


def rust(facts: RepositoryFacts) -> Toolchain | None:
    """Cargo: build, test, and fmt or clippy where the repository configures them."""
    if "Cargo.toml" not in facts.files:
        return None
    locked = " --locked" if has(facts, "Cargo.lock") else ""
    steps = [
        Step("build", "cargo build", f"cargo build --all-targets{locked}", "cargo"),
        Step(
            "test",
            "cargo test",
            f"cargo test{locked}",
            "cargo",
            reported=f"cargo test --no-fail-fast{locked}",
        ),
    ]
    if has(facts, "rustfmt.toml", ".rustfmt.toml"):
        steps.append(Step("lint", "cargo fmt", "cargo fmt --all --check", "cargo"))
    if has(facts, "clippy.toml", ".clippy.toml") or "[lints" in facts.files["Cargo.toml"]:
        steps.append(Step("lint", "cargo clippy", f"cargo clippy --all-targets{locked}", "cargo"))
    # An integration test is a target, named after its file.
    by_file = f'name=${{1##*/}}; cargo test{locked} --test "${{name%.rs}}"'
    return Toolchain("rust", tuple(steps), by_file, r"^tests/[^/]+\.rs$")


def go(facts: RepositoryFacts) -> Toolchain | None:
    """Go: build, test, vet."""
    if "go.mod" not in facts.files:
        return None
    steps = (
        Step("build", "go build", "go build ./...", "go"),
        Step("test", "go test", "go test ./...", "go", reported="go test -v ./..."),
        Step("lint", "go vet", "go vet ./...", "go"),
    )
    # Go tests packages, not files.
    by_file = 'go test -v "./$(dirname "$1")"'
    return Toolchain("go", steps, by_file, r"_test\.go$")
