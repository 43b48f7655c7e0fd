"""Which forges there are."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from jobs.errors import NotConfigured, NotFound
from jobs.forges.base import Forge
from jobs.forges.bitbucket import Bitbucket
from jobs.forges.github import GitHub
from jobs.forges.gitlab import GitLab
from jobs.forges.plain import Plain
from jobs.forges.pulls import Api, ForgeClient

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


def api_of(kind: str, host: str, addresses: Sequence[str], token: str) -> Api:
    """Return where the API of a host is. `addresses`: the setting `forge_apis`, `HOST=URL` each.

    Raises `NotConfigured` for an entry that is no such pair, or whose URL would carry a token in the clear.
    """
    given = {}
    for entry in addresses:
        name, equals, url = entry.partition("=")
        parts = urlsplit(url)
        here = parts.hostname in ("127.0.0.1", "::1", "localhost")
        if (
            not equals
            or not parts.netloc
            or (parts.scheme != "https" and not (here and parts.scheme == "http"))
        ):
            raise NotConfigured(
                f"The setting forge_apis has {entry!r}, which is not HOST=https://ADDRESS.",
                hint="Correct it in config.toml, or in OFFLOAD_FORGE_APIS.",
            )
        given[name.lower()] = url.rstrip("/")
    if host in given:
        return Api(host, given[host], f"{given[host].removesuffix('/v3')}/graphql", token)
    if host == "github.com":
        return Api(host, "https://api.github.com", "https://api.github.com/graphql", token)
    if kind == "gitlab":
        return Api(host, f"https://{host}/api/v4", "", token)
    return Api(host, f"https://{host}/api/v3", f"https://{host}/api/graphql", token)


def has_client(kind: str) -> bool:
    """Tell whether pull requests of this kind of forge can be read through its API."""
    return kind in ("github", "gitlab")


def open_client(kind: str, api: Api, cache: MutableMapping[str, Any] | None = None) -> ForgeClient:
    """Return a client. `cache`: keeps answers with their ETags. Raises `NotConfigured` without a client."""
    if not has_client(kind):
        raise NotConfigured(
            f"Pull requests of {api.host} cannot be listed or posted to: it is no GitHub and no GitLab.",
            hint="Reviews work as before: name the number or the branch.",
        )
    # Either loads an HTTP client, which most commands do not need.
    if kind == "gitlab":
        from jobs.forges.gitlab.client import GitLabClient

        return GitLabClient(api, cache)
    from jobs.forges.github.client import GitHubClient

    return GitHubClient(api, cache)
