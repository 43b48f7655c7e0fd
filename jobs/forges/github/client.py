"""The client of GitHub's API: REST for lists (each page has an ETag), GraphQL for one pull request.

GraphQL needs a token. Without one, the details come from REST, and threads and required checks are unknown.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

import gidgethub
import gidgethub.abc
import httpx

from jobs.errors import ForgeUnreachable, NotConfigured, NotFound, OffloadError, Refused
from jobs.forges.ci_log import CiLog
from jobs.forges.github import answers, queries
from jobs.forges.github.issues import GitHubIssues
from jobs.forges.http import LOOPBACK, MOST_BYTES, Limits, get_file, limited, read_body
from jobs.forges.pulls import (
    MOST_CHECKS,
    MOST_THREADS,
    Api,
    Check,
    CommitStatus,
    Event,
    Limit,
    LineComment,
    Posted,
    Pull,
    Thread,
    check_commit,
    cut,
)

ACCEPT = "application/vnd.github+json"
SECONDS = 20.0
PAGE = 100
MOST_PAGES = 10  # requests that one refresh of a list may cost
_limits = Limits()


WRITE_SECONDS = 1.0
# When each token may write next, for every client of this process; by API address and token.
_next_write: dict[tuple[str, str], float] = {}


class GitHubClient(GitHubIssues):
    """GitHub or GitHub Enterprise; see `jobs.forges.pulls.ForgeClient`."""

    def __init__(self, api: Api, cache: MutableMapping[str, Any] | None = None) -> None:
        self._api = api
        self._gh = _Requests(api, cache)

    @property
    def limit(self) -> Limit | None:
        """What the token (or this computer's address) has left, as the last answer said."""
        return self._gh.limit

    async def aclose(self) -> None:
        """Close the connections."""
        await self._gh.client.aclose()

    async def read_limit(self, slug: str) -> Limit | None:
        """Return what is left now; asking does not count."""
        await self._get_page("/rate_limit", "Reading the rate limit")
        return self.limit

    async def list_open(self, slug: str) -> list[Pull]:
        """Return all open pull requests; at most `MOST_PAGES` requests."""
        url = f"/repos/{_path(slug)}/pulls?state=open&sort=updated&direction=desc&per_page={PAGE}"
        found: list[Pull] = []
        more: str | None = url
        for _ in range(MOST_PAGES):
            if more is None:
                break
            data, more = await self._get_page(more, f"Listing the pull requests of {slug}")
            if not isinstance(data, list):
                raise ForgeUnreachable(f"{self._api.host} answered the list of {slug} with no list.")
            found += [answers.read_listed(item) for item in data]
        # A pull request that changes between two pages can be on both.
        return list({pull.number: pull for pull in found}.values())

    async def get(self, slug: str, number: int) -> Pull:
        """Return one pull request with its details."""
        what = f"Reading {slug}#{number}"
        if not self._api.token:
            return await self._get_without_token(slug, number, what)
        owner, name = slug.split("/", 1)
        node: Mapping[str, Any] = {}
        checks: list[Check] = []
        threads: list[Thread] = []
        after: dict[str, str] = {}
        while True:
            data = await self._query(queries.PULL, what, owner=owner, name=name, number=number, **after)
            page = (data.get("repository") or {}).get("pullRequest")
            if not page:
                raise NotFound(
                    f"{slug} has no pull request #{number}.", hint="Compare the number on its page."
                )
            if node and page["headRefOid"] != node["headRefOid"]:
                # The head moved between two pages: what was read so far is about another commit.
                node, checks, threads, after = {}, [], [], {}
                continue
            node = page
            first, asked, after = not after, after, {}
            if first or "checks" in asked:
                found, end = answers.read_checks(page)
                checks += found
                if end and len(checks) < MOST_CHECKS:
                    after["checks"] = end
            if first or "threads" in asked:
                conversations, end = answers.read_threads(page)
                threads += conversations
                if end and len(threads) < MOST_THREADS:
                    after["threads"] = end
            if not after:
                return answers.read_pull(node, checks, threads)

    async def _get_without_token(self, slug: str, number: int, what: str) -> Pull:
        pull, _ = await self._get_page(f"/repos/{_path(slug)}/pulls/{number}", what)
        commit = f"/repos/{_path(slug)}/commits/{pull['head']['sha']}"
        runs, _ = await self._get_page(f"{commit}/check-runs?per_page={PAGE}", what)
        status, _ = await self._get_page(f"{commit}/status?per_page={PAGE}", what)
        return answers.read_rest_pull(pull, runs, status)

    async def files(self, slug: str, number: int) -> Mapping[str, str]:
        """Return the changed files with their patch."""
        found: dict[str, str] = {}
        more: str | None = f"/repos/{_path(slug)}/pulls/{number}/files?per_page={PAGE}"
        while more is not None:
            data, more = await self._get_page(more, f"Reading the files of {slug}#{number}")
            found |= {item["filename"]: cut(item.get("patch"), MOST_BYTES) for item in data}
        return found

    async def expand_commit(self, slug: str, begun: str) -> str:
        """Return the full id of a commit."""
        what = f"Looking for the commit {begun} of {slug}"
        found, _ = await self._get_page(f"/repos/{_path(slug)}/commits/{begun.lower()}", what)
        return check_commit(found.get("sha") if isinstance(found, dict) else None, slug, begun)

    async def log(self, slug: str, number: int) -> CiLog:
        """Return the log of a job of Actions, with its steps; it needs a token on public repositories too."""
        what = f"Reading the log of the job {number} of {slug}"
        if not self._api.token:
            raise self._no_token(what)
        job, _ = await self._get_page(f"/repos/{_path(slug)}/actions/jobs/{number}", what)
        async with _Translated(self._api, what):
            text, is_cut = await self._gh.get_text(f"/repos/{_path(slug)}/actions/jobs/{number}/logs")
            return CiLog(text, is_cut, answers.read_steps(job))
        raise AssertionError("unreachable")

    async def find_mark(self, slug: str, number: int, mark: str) -> Posted | None:
        """Return the user's own review whose text contains `mark`.

        A pending review with the mark is what an interrupted attempt left; it is discarded.
        """
        owner, name = slug.split("/", 1)
        what = f"Reading the reviews of {slug}#{number}"
        before: dict[str, str] = {}
        while True:
            data = await self._query(
                queries.FIND_REVIEWS, what, owner=owner, name=name, number=number, **before
            )
            pull = (data.get("repository") or {}).get("pullRequest")
            if not pull:
                raise NotFound(
                    f"{slug} has no pull request #{number}.", hint="Compare the number on its page."
                )
            for review in pull["reviews"]["nodes"]:
                if not review["viewerDidAuthor"] or mark not in review["body"]:
                    continue
                if review["state"] != "PENDING":
                    return Posted(cut(review["url"]))
                await self._query(
                    queries.DISCARD_REVIEW, "Discarding an unfinished review", review=review["id"]
                )
            page = pull["reviews"]["pageInfo"]
            if not page["hasPreviousPage"]:
                return None
            before = {"before": page["startCursor"]}

    async def post_review(
        self, slug: str, pull: Pull, commit: str, event: Event, body: str, comments: Sequence[LineComment]
    ) -> Posted:
        """Post one review: a pending one with its comments first, then its submission, which publishes it.

        Comments on files are possible in a pending review only, so all reviews take this way.
        """
        what = f"Posting a review of {slug}#{pull.number}"
        started = await self._query(
            queries.START_REVIEW, what, pull=pull.id, commit=commit, body=body,
            threads=[answers.write_thread(comment) for comment in comments if comment.line is not None],
        )  # fmt: skip
        review = started["addPullRequestReview"]["pullRequestReview"]["id"]
        try:
            for comment in comments:
                if comment.line is None:
                    await self._query(
                        queries.ADD_FILE_THREAD, what, review=review, path=comment.path, body=comment.body
                    )
            done = await self._query(queries.SUBMIT_REVIEW, what, review=review, event=event, body=body)
        except Refused:
            # A user has one pending review at most: left behind, it would stop the next one.
            await self._query(queries.DISCARD_REVIEW, "Discarding an unfinished review", review=review)
            raise
        return Posted(cut(done["submitPullRequestReview"]["pullRequestReview"]["url"]))

    async def find_reply(self, slug: str, number: int, thread: str, mark: str) -> Posted | None:
        """Return the user's own comment in the thread whose text contains `mark`."""
        return _find_comment(await self._thread(slug, number, thread), mark)

    async def post_reply(
        self, slug: str, number: int, thread: str, body: str, mark: str, *, resolve: bool
    ) -> Posted:
        """Answer a thread unless the answer with `mark` is there; then resolve it.

        While the user has a pending review, GitHub would hide the answer in it: that is refused.
        """
        what = f"Answering a thread of {slug}#{number}"
        node = await self._thread(slug, number, thread)
        posted = _find_comment(node, mark)
        if posted is None:
            owner, name = slug.split("/", 1)
            data = await self._query(queries.FIND_REVIEWS, what, owner=owner, name=name, number=number)
            if any(r["state"] == "PENDING" for r in data["repository"]["pullRequest"]["reviews"]["nodes"]):
                raise Refused(
                    f"{what} failed: you have a pending review there, and the answer would be hidden in it.",
                    hint="Submit or discard your review on the forge first.",
                )
            done = await self._query(queries.ADD_REPLY, what, thread=thread, body=body)
            posted = Posted(cut(done["addPullRequestReviewThreadReply"]["comment"]["url"]))
        if resolve and not node["isResolved"]:
            try:
                await self._query(
                    queries.RESOLVE_THREAD, f"Resolving a thread of {slug}#{number}", thread=thread
                )
            except Refused as error:
                # The answer is posted: the next attempt finds it.
                raise ForgeUnreachable(error.message, hint=error.hint) from error
        return posted

    async def _thread(self, slug: str, number: int, thread: str) -> Mapping[str, Any]:
        owner, name = slug.split("/", 1)
        what = f"Reading the threads of {slug}#{number}"
        after: dict[str, str] = {}
        while True:
            data = await self._query(
                queries.FIND_THREADS, what, owner=owner, name=name, number=number, **after
            )
            page = ((data.get("repository") or {}).get("pullRequest") or {}).get("reviewThreads")
            for node in (page or {}).get("nodes") or ():
                if node["id"] == thread:
                    return dict(node)
            if not page or not page["pageInfo"]["hasNextPage"]:
                raise Refused(f"{slug}#{number} no longer has the thread.", hint="Drop the draft.")
            after = {"after": page["pageInfo"]["endCursor"]}

    async def find_status(self, slug: str, commit: str, status: CommitStatus) -> Posted | None:
        """Return the page of a commit whose newest status of this context is this one."""
        url = f"/repos/{_path(slug)}/commits/{commit}/statuses?per_page={PAGE}"
        found, _ = await self._get_page(url, f"Reading the statuses of {slug} {commit[:10]}")
        mine = next((one for one in found if one.get("context") == status.context), None)
        if mine is None or (mine.get("state"), mine.get("description")) != (status.state, status.description):
            return None
        return self._commit_page(slug, commit)

    async def post_status(self, slug: str, commit: str, status: CommitStatus) -> Posted:
        """Set the status of a commit."""
        what = f"Setting a status of {slug} {commit[:10]}"
        await self._post(f"/repos/{_path(slug)}/statuses/{commit}", what, asdict(status))
        return self._commit_page(slug, commit)

    async def change_labels(
        self, slug: str, number: int, add: Sequence[str], remove: Sequence[str]
    ) -> Posted:
        """Give a pull request labels and take others from it. GitHub makes a label that it does not know."""
        what = f"Changing the labels of {slug}#{number}"
        if not self._api.token:
            raise self._no_token(what)
        url = f"/repos/{_path(slug)}/issues/{number}/labels"
        if add:
            await self._wait_to_write()
            async with _Translated(self._api, what):
                await self._gh.post(url, data={"labels": list(add)}, accept=ACCEPT)
        for name in remove:
            await self._wait_to_write()
            with contextlib.suppress(NotFound):  # it is gone already
                async with _Translated(self._api, what):
                    await self._gh.delete(f"{url}/{quote(name, safe='')}", accept=ACCEPT)
        return Posted(f"https://{self._api.host}/{slug}/pull/{number}")

    async def _post(self, url: str, what: str, data: Mapping[str, Any]) -> Any:
        if not self._api.token:
            raise self._no_token(what)
        await self._wait_to_write()
        async with _Translated(self._api, what):
            return await self._gh.post(url, data=dict(data), accept=ACCEPT)

    def _commit_page(self, slug: str, commit: str) -> Posted:
        return Posted(f"https://{self._api.host}/{slug}/commit/{commit}")

    async def _wait_to_write(self) -> None:
        """Leave a second between the writes of one token, as GitHub asks for."""
        key = (self._api.rest, self._api.token)
        now = time.monotonic()
        at = max(now, _next_write.get(key, now))
        _next_write[key] = at + WRITE_SECONDS
        await asyncio.sleep(at - now)

    async def _get_page(self, url: str, what: str) -> tuple[Any, str | None]:
        async with _Translated(self._api, what):
            return await self._gh.get_page(url)
        raise AssertionError("unreachable")  # `_Translated` raises what it catches

    def _no_token(self, what: str) -> NotConfigured:
        return NotConfigured(
            f"{what} needs a token for {self._api.host}.",
            hint="Run `gh auth login`, or store a token (docs/forges.md says how).",
        )

    async def _query(self, query: str, what: str, **variables: Any) -> dict[str, Any]:
        if not self._api.token:
            raise self._no_token(what)
        if query.lstrip().startswith("mutation"):
            await self._wait_to_write()
        async with _Translated(self._api, what):
            data = await self._gh.graphql(query, endpoint=self._api.graphql, **variables)
            return dict(data)
        raise AssertionError("unreachable")


def _find_comment(thread: Mapping[str, Any], mark: str) -> Posted | None:
    for comment in thread["comments"]["nodes"]:
        if comment["viewerDidAuthor"] and mark in comment["body"]:
            return Posted(cut(comment["url"]))
    return None


class _Requests(gidgethub.abc.GitHubAPI):
    """gidgethub over httpx, with bounds: one origin, a size, and no request when nothing is left."""

    def __init__(self, api: Api, cache: MutableMapping[str, Any] | None) -> None:
        super().__init__("offload", oauth_token=api.token or None, cache=cache, base_url=api.rest)
        self._origins = {_origin(api.rest), _origin(api.graphql)}
        self._api = api
        # A proxy of the environment cannot reach a forge on this computer.
        here = urlsplit(api.rest).hostname in LOOPBACK
        self.client = httpx.AsyncClient(timeout=SECONDS, trust_env=not here)

    @property
    def limit(self) -> Limit | None:
        return _limits.get(self._api)

    async def get_page(self, url: str) -> tuple[Any, str | None]:
        data, more, _ = await self._make_request("GET", url, {}, b"", ACCEPT)
        return data, more

    async def get_text(self, url: str) -> tuple[str, bool]:
        """Return the last `MOST_LOG` bytes of a file that the API redirects to, and whether it has more."""
        self._check_limit(self._api.host)
        headers = {"user-agent": "offload", "accept": ACCEPT, "authorization": f"token {self._api.token}"}
        status, text, is_cut = await get_file(self.client, f"{self._api.rest}{url}", headers, self._api.rest)
        if status != HTTPStatus.OK:
            raise gidgethub.HTTPException(HTTPStatus(status), cut(text, 300))
        return text, is_cut

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> tuple[int, Mapping[str, str], bytes]:
        if _origin(url) not in self._origins:
            # Addresses of further pages come from the forge; the token must not follow one elsewhere.
            raise ForgeUnreachable(f"{self._api.host} named a page on {urlsplit(url).netloc}.")
        self._check_limit(urlsplit(url).netloc)
        sent = {name: value for name, value in headers.items() if name != "content-length"}
        async with self.client.stream(method, url, headers=sent, content=body) as response:
            content = await read_body(response)
        # GraphQL is counted apart from REST, in points.
        if response.headers.get("x-ratelimit-resource", "core") == "core":
            _limits.note(self._api, response.headers, "x-ratelimit")
        return response.status_code, response.headers, content

    def _check_limit(self, host: str) -> None:
        limit = self.limit
        if limit is not None and limit.remaining <= 0:
            raise limited(host, limit.resets_at)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Translated:
    """Turns errors of gidgethub and httpx into ours."""

    def __init__(self, api: Api, what: str) -> None:
        self._api, self._what = api, what

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, (gidgethub.GitHubException, httpx.HTTPError, ValueError, KeyError)):
            raise _translate(self._api, self._what, error) from error


def _translate(api: Api, what: str, error: Exception) -> OffloadError:
    said = cut(str(error), 300)
    status = int(getattr(error, "status_code", 0) or 0)
    headers = getattr(error, "headers", None) or {}
    if isinstance(error, gidgethub.RateLimitExceeded):
        return limited(api.host, error.rate_limit.reset_datetime.timestamp())
    if isinstance(error, gidgethub.QueryError) and "rate limit" in said.lower():
        return _limits.stop(api, None)
    if status in (403, 429) and (headers.get("retry-after") or "rate limit" in said.lower()):
        return _limits.stop(api, headers.get("retry-after"))
    if status == 401 or isinstance(error, gidgethub.GraphQLAuthorizationFailure):
        return NotConfigured(
            f"{what} failed: {api.host} refused the token ({said}).",
            hint="Renew it with `gh auth login`, or store a new one (docs/forges.md).",
        )
    if status in (404, 410) or (isinstance(error, gidgethub.QueryError) and "Could not resolve" in said):
        return NotFound(
            f"{what} failed: {api.host} does not have it, or does not show it to you.",
            hint="Check the number; a private repository needs a token (docs/forges.md).",
        )
    # GitHub's words for an error of its own: what the query did is unknown.
    if (isinstance(error, gidgethub.QueryError) and "went wrong" not in said) or status in (403, 422):
        return Refused(
            f"{what} failed: {api.host} refused it ({said}).",
            hint="Check what the token may do (docs/forges.md).",
        )
    return ForgeUnreachable(
        f"{what} failed: {api.host} did not answer as it must ({said or type(error).__name__}).",
        hint="Try again; see the forge's status page.",
    )


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _path(slug: str) -> str:
    return quote(slug, safe="/")
