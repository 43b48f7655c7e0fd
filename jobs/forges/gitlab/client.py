"""The client of GitLab's API: REST v4, hosted or self-managed.

Public projects can be read without a token. What GitLab tells members only is unknown then.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

import httpx

from jobs.errors import ForgeUnreachable, NotConfigured, NotFound, OffloadError, Refused
from jobs.forges.ci_log import CiLog
from jobs.forges.gitlab import answers
from jobs.forges.gitlab.posting import DONE, GitLabPosting, project_path
from jobs.forges.http import LOOPBACK, MOST_BYTES, Limits, get_file, limited, read_body
from jobs.forges.pulls import MOST_THREADS, Api, Issue, Limit, Pull, check_commit, cut

SECONDS = 20.0
PAGE = 100
MOST_PAGES = 10  # requests that one list may cost
_REFUSALS = (
    HTTPStatus.FORBIDDEN,
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.CONFLICT,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)
_limits = Limits()


class GitLabClient(GitLabPosting):
    """GitLab; see `jobs.forges.pulls.ForgeClient`."""

    def __init__(self, api: Api, cache: MutableMapping[str, Any] | None = None) -> None:
        self._api = api
        self._cache = cache if cache is not None else {}
        here = urlsplit(api.rest).hostname in LOOPBACK
        # A proxy of the environment cannot reach a forge on this computer.
        self._http = httpx.AsyncClient(timeout=SECONDS, trust_env=not here)

    @property
    def limit(self) -> Limit | None:
        """What the token (or this computer's address) has left, as the last answer said."""
        return _limits.get(self._api)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def read_limit(self, slug: str) -> Limit | None:
        """Return what is left now, by one small request."""
        await self._get(project_path(slug), f"Reading {slug}")
        return self.limit

    async def list_open(self, slug: str) -> list[Pull]:
        """Return all open merge requests; at most `MOST_PAGES` requests."""
        what = f"Listing the merge requests of {slug}"
        query = f"state=opened&order_by=updated_at&sort=desc&per_page={PAGE}"
        items = await self._get_all(f"{project_path(slug)}/merge_requests?{query}", what)
        # One that changes between two pages can be on both.
        return list({pull.number: pull for pull in self._read(what, answers.read_listed, items)}.values())

    async def get(self, slug: str, number: int) -> Pull:
        """Return one merge request with its details: nine requests, ten for a fork."""
        what = f"Reading {slug}!{number}"
        place = f"{project_path(slug)}/merge_requests/{number}"
        item = await self._get(place, what)
        async with asyncio.TaskGroup() as group:
            tasks = {
                "project": group.create_task(self._optional(project_path(slug), what)),
                "approvals": group.create_task(self._optional(f"{place}/approvals", what)),
                "reviewers": group.create_task(self._optional(f"{place}/reviewers", what)),
                "discussions": group.create_task(self._discussions(place, what)),
                "issues": group.create_task(self._optional(f"{place}/closes_issues", what)),
                "files": group.create_task(_or_error(self.files(slug, number))),
                "pipeline": group.create_task(self._pipeline(slug, item, what)),
                "source": group.create_task(self._source(item, what)),
            }
        told = {name: task.result() for name, task in tasks.items()}
        for answer in told.values():
            if isinstance(answer, OffloadError):
                raise answer
        project = told.pop("project") or {}
        source = cut((told.pop("source") or {}).get("path_with_namespace"), 300)
        jobs, statuses, has_logs = told.pop("pipeline")
        try:
            checks = answers.read_checks(jobs, statuses, project, has_logs=has_logs)
            pull = answers.read_pull(item, project, checks=checks, **told)
            return replace(pull, head_repository=source) if source else pull
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._malformed(what, error)

    async def files(self, slug: str, number: int) -> Mapping[str, str]:
        """Return the changed files with their patch."""
        what = f"Reading the files of {slug}!{number}"
        items = await self._get_all(
            f"{project_path(slug)}/merge_requests/{number}/diffs?per_page={PAGE}", what
        )
        return {cut(item.get("new_path"), 1000): cut(item.get("diff"), MOST_BYTES) for item in items}

    async def expand_commit(self, slug: str, begun: str) -> str:
        """Return the full id of a commit."""
        what = f"Looking for the commit {begun} of {slug}"
        found = await self._get(f"{project_path(slug)}/repository/commits/{begun.lower()}", what)
        return check_commit(found.get("id") if isinstance(found, dict) else None, slug, begun)

    async def issue(self, slug: str, number: int) -> Issue:
        """Return one issue: two requests. Its parent is its epic; tasks below it are not in this API."""
        what = f"Reading the issue {slug}#{number}"
        place = f"{project_path(slug)}/issues/{number}"
        item = await self._get(place, what)
        notes = await self._optional(f"{place}/notes?order_by=created_at&sort=asc&per_page={PAGE}", what)
        if isinstance(notes, OffloadError):
            raise notes
        try:
            return answers.read_issue(item, notes or [])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._malformed(what, error)

    async def log(self, slug: str, number: int) -> CiLog:
        """Return the trace of a job."""
        what = f"Reading the log of the job {number} of {slug}"
        url = f"{self._api.rest}{project_path(slug)}/jobs/{number}/trace"
        self._check_limit()
        try:
            status, text, is_cut = await get_file(self._http, url, self._headers(), self._api.rest)
        except httpx.HTTPError as error:
            self._malformed(what, error)
        if status != HTTPStatus.OK:
            self._refuse(status, {}, text[:300], what)
        return CiLog(text, is_cut)

    async def _source(self, item: Mapping[str, Any], what: str) -> Any:
        """Return the project of a fork's branch; None when it is this one, or is not shown."""
        source = item.get("source_project_id")
        if source in (None, item.get("target_project_id")):
            return None
        return await self._optional(f"/projects/{int(source)}", what)

    async def _discussions(self, place: str, what: str) -> Any:
        pages = MOST_THREADS // PAGE
        return await self._optional(f"{place}/discussions?per_page={PAGE}", what, pages=pages)

    async def _pipeline(self, slug: str, item: Mapping[str, Any], what: str) -> Any:
        """Return jobs and other statuses of the head's pipeline, and whether it is of this project."""
        pipeline = item.get("head_pipeline") or {}
        merged = str(pipeline.get("ref") or "").startswith(f"refs/merge-requests/{item.get('iid')}/")
        # After a push the pipeline can still be an older head's. One of the merge result has another commit.
        if not pipeline or (pipeline.get("sha") != item.get("sha") and not merged):
            return [], [], False
        own = pipeline.get("project_id") in (None, item.get("target_project_id"))
        project = project_path(slug) if own else f"/projects/{int(pipeline['project_id'])}"
        jobs = await self._optional(
            f"{project}/pipelines/{int(pipeline['id'])}/jobs?per_page={PAGE}", what, pages=3
        )
        commit = quote(str(pipeline.get("sha")), safe="")
        statuses = await self._optional(
            f"{project}/repository/commits/{commit}/statuses?per_page={PAGE}", what, pages=3
        )
        if isinstance(jobs, OffloadError) or isinstance(statuses, OffloadError):
            return jobs if isinstance(jobs, OffloadError) else statuses
        return jobs or [], statuses or [], own

    async def _optional(self, path: str, what: str, *, pages: int = 1) -> Any:
        """Return an answer; None when GitLab tells it to members only; an error of ours as a value.

        A task group would turn an error into a group of errors.
        """
        try:
            return await (self._get_all(path, what, pages) if pages > 1 else self._get(path, what))
        except (NotFound, Refused):
            return None
        except NotConfigured as error:
            return error if self._api.token else None
        except OffloadError as error:
            return error

    async def _get_all(self, path: str, what: str, pages: int = MOST_PAGES) -> list[Any]:
        found: list[Any] = []
        more = f"{self._api.rest}{path}"
        for _ in range(pages):
            data, more = await self._get_page(more, what)
            if not isinstance(data, list):
                raise ForgeUnreachable(f"{what} failed: {self._api.host} answered with no list.")
            found += data
            if not more:
                break
        return found

    async def _get(self, path: str, what: str) -> Any:
        return (await self._get_page(f"{self._api.rest}{path}", what))[0]

    async def _get_page(self, url: str, what: str) -> tuple[Any, str]:
        """Return an answer and the address of the next page; a known answer when it has not changed."""
        if _origin(url) != _origin(self._api.rest):
            # Addresses of further pages come from the forge; the token must not follow one elsewhere.
            raise ForgeUnreachable(f"{self._api.host} named a page on {urlsplit(url).netloc}.")
        self._check_limit()
        etag, known, more = self._cache.get(url) or ("", None, "")
        headers = self._headers() | ({"if-none-match": etag} if etag else {})
        try:
            async with self._http.stream("GET", url, headers=headers) as response:
                body = await read_body(response)
        except httpx.HTTPError as error:
            self._malformed(what, error)
        _limits.note(self._api, response.headers, "ratelimit")
        if response.status_code == HTTPStatus.NOT_MODIFIED:
            return known, more
        if response.status_code != HTTPStatus.OK:
            self._refuse(response.status_code, response.headers, body.decode("utf-8", "replace")[:300], what)
        try:
            data = json.loads(body)
        except ValueError as error:
            self._malformed(what, error)
        more = str((response.links.get("next") or {}).get("url") or "")
        if response.headers.get("etag"):
            self._cache[url] = (response.headers["etag"], data, more)
        return data, more

    async def _write(self, method: str, path: str, what: str, data: Mapping[str, Any]) -> Any:
        if not self._api.token:
            raise NotConfigured(
                f"{what} needs a token for {self._api.host}.",
                hint="Run `glab auth login`, or store a token (docs/forges.md says how).",
            )
        self._check_limit()
        try:
            url = f"{self._api.rest}{path}"
            async with self._http.stream(method, url, headers=self._headers(), json=data) as response:
                body = await read_body(response)
        except httpx.HTTPError as error:
            self._malformed(what, error)
        _limits.note(self._api, response.headers, "ratelimit")
        if response.status_code not in DONE:
            self._refuse(response.status_code, response.headers, body.decode("utf-8", "replace")[:300], what)
        try:
            return json.loads(body) if body else {}
        except ValueError as error:
            self._malformed(what, error)

    def _headers(self) -> dict[str, str]:
        token = {"authorization": f"Bearer {self._api.token}"} if self._api.token else {}
        return {"user-agent": "offload", **token}

    def _check_limit(self) -> None:
        limit = self.limit
        if limit is not None and limit.remaining <= 0:
            raise limited(self._api.host, limit.resets_at)

    def _read(self, what: str, read: Any, items: Sequence[Any]) -> list[Pull]:
        try:
            return [read(item) for item in items]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._malformed(what, error)

    def _malformed(self, what: str, error: Exception) -> NoReturn:
        raise ForgeUnreachable(
            f"{what} failed: {self._api.host} did not answer as it must "
            f"({cut(str(error), 300) or type(error).__name__}).",
            hint="Try again; see the forge's status page.",
        ) from error

    def _refuse(self, status: int, headers: Mapping[str, str], said: str, what: str) -> NoReturn:
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise _limits.stop(self._api, headers.get("retry-after"))
        if status == HTTPStatus.UNAUTHORIZED:
            why = "refused the token" if self._api.token else "wants a token"
            raise NotConfigured(
                f"{what} failed: {self._api.host} {why}.",
                hint="Run `glab auth login`, or store a token (docs/forges.md says how).",
            )
        if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            raise NotFound(
                f"{what} failed: {self._api.host} does not have it, or does not show it to you.",
                hint="Check the number; a private project needs a token (docs/forges.md).",
            )
        if status in _REFUSALS:
            raise Refused(
                f"{what} failed: {self._api.host} refused it ({said}).",
                hint="Check what the token may do (docs/forges.md).",
            )
        self._malformed(what, ValueError(f"{status}: {said}"))


async def _or_error(call: Any) -> Any:
    """Return the result of a call, or its error as a value."""
    try:
        return await call
    except OffloadError as error:
        return error


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
