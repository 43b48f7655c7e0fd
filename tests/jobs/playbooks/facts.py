"""Facts and contexts for playbook tests, from a few files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jobs.playbooks.base import ChangedFile, Context, RepositoryFacts

TOOLS = ("npm", "cargo", "go", "mvn", "gradle", "java", "make", "just", "python3")


def facts(
    files: Mapping[str, str] | None = None,
    *,
    root: Iterable[str] = (),
    base: Mapping[str, str] | None = None,
    changed: Iterable[str] = (),
    tools: Iterable[str] = TOOLS,
) -> RepositoryFacts:
    """Return facts; `changed` are paths, added ones with a leading `+`, deleted ones with a leading `-`."""
    files = files or {}
    letters = {"+": "A", "-": "D"}
    return RepositoryFacts(
        root_entries=tuple({*(name.split("/")[0] for name in files), *root}),
        files=files,
        base_files=files if base is None else base,
        changed=tuple(ChangedFile(path.lstrip("+-"), letters.get(path[0], "M")) for path in changed),
        tools={name: f"/usr/bin/{name}" for name in tools},
    )


def context(seen: RepositoryFacts, *, base: bool = True) -> Context:
    """Return the context of pull request #7 of `owner/shop`."""
    return Context(
        session="offload-shop-7-review",
        repository="owner/shop",
        target="#7",
        number=7,
        sha="a" * 40,
        base_sha="b" * 40 if base else "",
        base_ref="main" if base else "",
        merge_base="c" * 40 if base else "",
        facts=seen,
    )
