"""Which branch a change is compared with, and why.

In this order: what the caller names (the user's `--base`, the repository's setting); the branch that the
forge says, while there is one of that name; the branch that the forge's merge ref (`refs/pull/N/merge`)
merges into; of the long-lived branches the one that lacks the fewest commits of the change; the default
branch.
"""

from __future__ import annotations

import re
from typing import Dict, List, NamedTuple

from jobs.remote.offload_runner.git.command import Git
from jobs.remote.offload_runner.git.fetch import RemoteRefs
from jobs.remote.offload_runner.git.mirror import Mirror

ALL_BRANCHES = "refs/heads/*"
# Branches that changes are usually made for. Others are mostly changes themselves.
_LONG_LIVED = re.compile(
    r"refs/heads/(main|master|trunk|develop|development|dev|devel|next|stable|staging|beta|canary"
    r"|(release|releases|rel|stable|maint|maintenance|support|backport|hotfix|series|branch)[-_/.]\S+"
    r"|v?\d+([.x_-][\w.-]*)?|\S+[-_/](stable|maint|maintenance|branch))"
)
_PULL = re.compile(r"(refs/(?:pull|merge-requests)/\d+)/head")
MOST_CANDIDATES = 30
_FAR_ENOUGH = "--max-count=5000"  # commits; a merge ref is never that much older than its branch


class Base(NamedTuple):
    """A branch (its full name; or a commit), and why it is the base: it follows on a comma."""

    ref: str
    because: str


class Candidates(NamedTuple):
    """What is needed for a choice.

    branches: full names, the one first that is taken unless something speaks for another. because: why that.
    merge: the ref of the forge's merge, "" for none.
    """

    branches: List[str]
    merge: str
    because: str = "the default branch"

    @property
    def names(self) -> List[str]:
        """Return the refs whose commits are needed; none when there is no choice."""
        return [*self.branches, self.merge] if self.merge else self.branches


def merge_ref(head: str) -> str:
    """Return the ref of the merge that the forge tried for a pull request's head; "" for another ref."""
    match = _PULL.fullmatch(head)
    return match[1] + "/merge" if match else ""


def candidates(refs: RemoteRefs, head: str, said: str = "") -> Candidates:
    """Return what may be the base of `head`, a full name or a commit. `said`: what the forge says it is."""
    if said in refs.refs and said != head:
        return Candidates([said], "", "as the forge says")
    default = refs.default_base(head)
    merge = merge_ref(head)
    others = sorted(
        (name for name in refs.refs if name not in (default, head) and _LONG_LIVED.fullmatch(name)),
        key=lambda name: (len(name), name),
    )
    tips = {refs.refs.get(default)}
    branches = [default] if default else []
    for name in others:
        if len(branches) < MOST_CANDIDATES and refs.refs[name] not in tips:
            tips.add(refs.refs[name])
            branches.append(name)
    return Candidates(branches, merge if merge in refs.refs else "")


def choose(git: Git, refs: RemoteRefs, head: str, merge: str, branches: Dict[str, str], because: str) -> Base:
    """Choose the base. `git` has every commit that is named.

    head, merge: commits; `merge` is "" when the forge has none. branches: full name to commit, at least one;
    the first is taken unless something speaks for another, and `because` says why.
    """
    default = next(iter(branches))
    if merge:
        into = git.commit(merge + "^1")
        found = _branch_of(git, into, {**branches, **_with_tip(refs, into)}) if into else ""
        if found:
            return Base(found, "which the forge merges the change into")
    ahead = {name: _count(git, head, tip) for name, tip in branches.items()}
    # A branch that has all of it was made from the change, or took it already.
    able = {name: count for name, count in ahead.items() if count or name == default}
    nearest = min(able, key=lambda name: able[name])  # of equals the first, and the default one comes first
    if nearest != default:
        return Base(nearest, "the long-lived branch that lacks the fewest commits of the change")
    return Base(default, because)


def choose_fetched(
    mirrored: Mirror,
    session: str,
    refs: RemoteRefs,
    possible: Candidates,
    tried: Dict[str, str],
    head: str,
) -> Base:
    """Choose among the branches that were fetched as `tried`, and forget these. Call with the lock."""
    git = mirrored.git
    commits = {theirs: git.commit(ours) for ours, theirs in tried.items()}
    branches = {name: commits[name] for name in possible.branches if commits[name]}
    merge = commits.get(possible.merge, "")
    if not branches:
        return Base("", "")
    chosen = choose(git, refs, head, merge, branches, possible.because)
    tip = commits.get(chosen.ref) or refs.refs[chosen.ref]
    lines = ["update %s %s" % (mirrored.ref(session, "base"), tip), *("delete %s" % ours for ours in tried)]
    git.run("update-ref", "--no-deref", "--stdin", input="".join(line + "\n" for line in lines).encode())
    return chosen


def _with_tip(refs: RemoteRefs, commit: str) -> Dict[str, str]:
    return {name: sha for name, sha in refs.refs.items() if sha == commit and name.startswith("refs/heads/")}


def _branch_of(git: Git, commit: str, branches: Dict[str, str]) -> str:
    """Return the first branch that has a commit on its own line (not by a merge); "" for none."""
    exact = [name for name, tip in branches.items() if tip == commit]
    if exact:
        return exact[0]
    for name, tip in branches.items():
        if commit.encode() in git.out("rev-list", "--first-parent", _FAR_ENOUGH, tip).split():
            return name
    return ""


def _count(git: Git, commit: str, tip: str) -> int:
    """Return how many commits of `commit` a branch does not have."""
    return int(git.line("rev-list", "--count", commit, "^" + tip))
