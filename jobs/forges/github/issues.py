"""Issues of GitHub, and the pull requests that are opened for them: REST, which has sub-issues."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from jobs.errors import ForgeUnreachable, NotFound, Refused
from jobs.forges.pulls import (
    LONGEST_BODY,
    MOST_CHILDREN,
    MOST_COMMENTS,
    MOST_LABELS,
    MOST_PARENTS,
    Comment,
    Issue,
    NewPull,
    Posted,
    RelatedIssue,
    cut,
    web_address,
)


class GitHubIssues(ABC):
    """The methods of `ForgeClient` about issues and new pull requests, over the requests of a client."""

    @abstractmethod
    async def _get_page(self, url: str, what: str) -> tuple[Any, str | None]: ...

    @abstractmethod
    async def _post(self, url: str, what: str, data: Mapping[str, Any]) -> Any:
        """Send a change, once; the caller looks for its mark after a lost answer."""

    async def issue(self, slug: str, number: int) -> Issue:
        """Return one issue: three to six requests. Raises `Refused` for a pull request."""
        what = f"Reading the issue {slug}#{number}"
        place = f"/repos/{_path(slug)}/issues/{number}"
        found = await self._object(place, what)
        if found.get("pull_request"):
            raise Refused(f"{slug}#{number} is a pull request.", hint=f"Write `offload {number} fix`.")
        comments, _ = await self._get_page(f"{place}/comments?per_page={MOST_COMMENTS}", what)
        children: Any = []
        with contextlib.suppress(NotFound):  # a server of one's own may not know them
            children, _ = await self._get_page(f"{place}/sub_issues?per_page={MOST_CHILDREN}", what)
        try:
            return Issue(
                number=number,
                title=cut(found["title"]),
                body=cut(found["body"], LONGEST_BODY),
                author=_login(found),
                state=cut(found["state"], 20),
                url=web_address(found["html_url"]),
                labels=tuple(cut(one["name"], 100) for one in found["labels"][:MOST_LABELS]),
                comments=tuple(Comment(_login(one), cut(one["body"], LONGEST_BODY)) for one in comments),
                parents=await self._parents(slug, place, what),
                children=tuple(_related(slug, one) for one in children),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ForgeUnreachable(f"{what} failed: the answer is not as it must be.") from error

    async def _parents(self, slug: str, place: str, what: str) -> tuple[RelatedIssue, ...]:
        found: list[RelatedIssue] = []
        while len(found) < MOST_PARENTS:
            try:
                parent = await self._object(f"{place}/parent", what)
            except NotFound:
                break
            found.append(_related(slug, parent))
            place = f"/repos/{_path(_slug_of(parent) or slug)}/issues/{int(parent['number'])}"
        return tuple(found)

    async def find_pull(self, slug: str, new: NewPull, mark: str) -> Posted | None:
        """Return the pull request of a branch whose text contains `mark`."""
        owner = new.head_repository.partition("/")[0]
        head = quote(f"{owner}:{new.head_ref}", safe="")
        url = f"/repos/{_path(slug)}/pulls?state=all&head={head}&per_page=100"
        found, _ = await self._get_page(url, f"Looking for the pull request of {new.head_ref}")
        mine = (one for one in found if mark in (one.get("body") or ""))
        return next((Posted(web_address(one["html_url"])) for one in mine), None)

    async def open_pull(self, slug: str, new: NewPull) -> Posted:
        """Open a pull request."""
        what = f"Opening a pull request of {new.head_ref} in {slug}"
        owner = new.head_repository.partition("/")[0]
        head = new.head_ref if new.head_repository == slug else f"{owner}:{new.head_ref}"
        data = {"title": new.title, "body": new.body, "head": head, "base": new.base_ref, "draft": new.draft}
        made = await self._post(f"/repos/{_path(slug)}/pulls", what, data)
        return Posted(web_address(made["html_url"]))

    async def _object(self, url: str, what: str) -> Mapping[str, Any]:
        found, _ = await self._get_page(url, what)
        if not isinstance(found, dict):
            raise ForgeUnreachable(f"{what} failed: the answer is no object.")
        return found


def _login(item: Mapping[str, Any]) -> str:
    return cut((item.get("user") or {}).get("login"), 100)


def _slug_of(item: Mapping[str, Any]) -> str:
    """Return the repository of an issue; empty when the answer names none."""
    parts = urlsplit(cut(item.get("repository_url"), 500)).path.strip("/").split("/")
    return "/".join(parts[-2:]) if parts[-3:-2] == ["repos"] else ""


def _related(slug: str, item: Mapping[str, Any]) -> RelatedIssue:
    other = _slug_of(item)
    where = other if other and other.lower() != slug.lower() else ""
    body = cut(item.get("body"), LONGEST_BODY)
    return RelatedIssue(f"{where}#{int(item['number'])}", cut(item["title"]), cut(item["state"], 20), body)


def _path(slug: str) -> str:
    return quote(slug, safe="/")
