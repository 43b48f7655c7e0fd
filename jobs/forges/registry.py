"""Which forges there are."""

from __future__ import annotations

from jobs.errors import NotFound
from jobs.forges.base import Forge
from jobs.forges.bitbucket import Bitbucket
from jobs.forges.github import GitHub
from jobs.forges.gitlab import GitLab
from jobs.forges.plain import Plain

# The first that matches counts; `Plain` matches everything.
FORGES: tuple[Forge, ...] = (GitHub(), GitLab(), Bitbucket(), Plain())


def for_url(url: str) -> Forge:
    """Return the forge that a repository's address belongs to."""
    return next(forge for forge in FORGES if forge.matches(url))


def get(kind: str) -> Forge:
    """Return the forge of this kind. Raises `NotFound`."""
    for forge in FORGES:
        if forge.kind == kind:
            return forge
    raise NotFound(
        f"There is no forge of the kind {kind!r}.", hint=f"Known: {', '.join(f.kind for f in FORGES)}."
    )
