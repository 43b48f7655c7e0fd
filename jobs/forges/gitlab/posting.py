"""What the outbox posts to GitLab: a review as threads and a note, answers, statuses, labels.

GitLab has no review that is posted whole: each comment is a post of its own, with a mark by which a repeated
call finds it. The note with the text comes last, and stands for the review.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from hashlib import sha256
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from jobs.errors import ForgeUnreachable, NotConfigured, NotFound, Refused
from jobs.forges.patches import hunk_lines
from jobs.forges.pulls import CommitStatus, Event, LineComment, NewPull, Posted, Pull, cut

PAGE = 100
_STATES = {"success": "success", "failure": "failed", "error": "failed", "pending": "pending"}
_MARK = re.compile(r"offload:[0-9a-f]+")


def project_path(slug: str) -> str:
    """Return a project's path in the API."""
    return f"/projects/{quote(slug, safe='')}"


def old_line(patch: str, wanted: int) -> int | None:
    """Return the number in the old file of a line of the new one; None for an added line, and outside."""
    for line in hunk_lines(patch):
        if line.new == wanted and line.text[0] in "+ ":
            return line.old if line.text[0] == " " else None
    return None


class GitLabPosting(ABC):
    """The methods of `ForgeClient` that post, over the requests of a client."""

    @abstractmethod
    async def _get(self, path: str, what: str) -> Any: ...

    @abstractmethod
    async def _get_all(self, path: str, what: str, pages: int = ...) -> list[Any]: ...

    @abstractmethod
    async def _write(self, method: str, path: str, what: str, data: Mapping[str, Any]) -> Any:
        """Send a change, once; the caller looks for its mark after a lost answer."""

    async def find_mark(self, slug: str, number: int, mark: str) -> Posted | None:
        """Return the user's own note whose text contains `mark`, and that of no comment."""
        what = f"Reading the notes of {slug}!{number}"
        me = (await self._get("/user", what))["id"]
        place = _merge(slug, number)
        notes = await self._get_all(f"{place}/notes?order_by=created_at&sort=desc&per_page={PAGE}", what)
        found = _own(notes, me, f"<!-- {mark} -->")
        return await self._posted(place, found, what) if found else None

    async def post_review(
        self, slug: str, pull: Pull, commit: str, event: Event, body: str, comments: Sequence[LineComment]
    ) -> Posted:
        """Approve if asked to, open a thread for each comment that is not there, and write the note.

        Raises `Refused` for requested changes, which GitLab's API cannot express.
        """
        what, place = f"Posting a review of {slug}!{pull.number}", _merge(slug, pull.number)
        if event == "REQUEST_CHANGES":
            raise Refused(
                f"{what} failed: GitLab's API has no *request changes*.",
                hint="Make the draft with another verdict, and request changes on its page.",
            )
        me = (await self._get("/user", what))["id"]
        refs = (await self._get(place, what)).get("diff_refs") or {}
        if refs.get("head_sha") != commit:
            raise Refused(f"{what} failed: its head has moved.", hint="Review the new head.")
        if event == "APPROVE":
            approvals = await self._get(f"{place}/approvals", what)
            if not any((one.get("user") or {}).get("id") == me for one in approvals.get("approved_by") or ()):
                try:
                    await self._write("POST", f"{place}/approve", what, {"sha": commit})
                except NotConfigured as error:  # GitLab's answer to who may not approve, too
                    raise Refused(f"{what} failed: you cannot approve it.", hint=error.hint) from error
        files = {
            item["new_path"]: item for item in await self._get_all(f"{place}/diffs?per_page={PAGE}", what)
        }
        mark = match[0] if (match := _MARK.search(body)) else ""
        notes = await self._get_all(f"{place}/notes?order_by=created_at&sort=desc&per_page={PAGE}", what)
        for comment in comments:
            name = f"{comment.path}\n{comment.line}\n{comment.body}"
            own = f"<!-- {mark}-{sha256(name.encode()).hexdigest()[:12]} -->"
            if _own(notes, me, own) is None:
                text = f"{comment.body}\n\n{own}"
                position = _position(comment, files.get(comment.path) or {}, refs)
                await self._write("POST", f"{place}/discussions", what, {"body": text, "position": position})
        note = await self._write("POST", f"{place}/notes", what, {"body": body})
        return await self._posted(place, note, what)

    async def find_reply(self, slug: str, number: int, thread: str, mark: str) -> Posted | None:
        """Return the user's own note in the thread whose text contains `mark`."""
        what = f"Reading the threads of {slug}!{number}"
        me = (await self._get("/user", what))["id"]
        found = _own((await self._thread(slug, number, thread, what))["notes"], me, mark)
        return await self._posted(_merge(slug, number), found, what) if found else None

    async def post_reply(
        self, slug: str, number: int, thread: str, body: str, mark: str, *, resolve: bool
    ) -> Posted:
        """Answer a thread unless the answer with `mark` is there; then resolve it."""
        what, place = f"Answering a thread of {slug}!{number}", _merge(slug, number)
        me = (await self._get("/user", what))["id"]
        there = await self._thread(slug, number, thread, what)
        path = f"{place}/discussions/{quote(thread, safe='')}"
        note = _own(there["notes"], me, mark)
        if note is None:
            note = await self._write("POST", f"{path}/notes", what, {"body": body})
        if resolve and not all(one.get("resolved") for one in there["notes"] if one.get("resolvable")):
            try:
                await self._write("PUT", path, f"Resolving a thread of {slug}!{number}", {"resolved": True})
            except Refused as error:
                # The answer is posted: the next attempt finds it.
                raise ForgeUnreachable(error.message, hint=error.hint) from error
        return await self._posted(place, note, what)

    async def find_status(self, slug: str, commit: str, status: CommitStatus) -> Posted | None:
        """Return the page of a commit whose newest status of this name is this one."""
        what = f"Reading the statuses of {slug} {commit[:10]}"
        query = f"name={quote(status.context, safe='')}&per_page={PAGE}"
        path = f"{project_path(slug)}/repository/commits/{quote(commit, safe='')}/statuses?{query}"
        found = [one for one in await self._get_all(path, what) if one.get("name") == status.context]
        newest: Mapping[str, Any] = max(found, key=lambda one: int(one["id"]), default={})
        said = (newest.get("status"), newest.get("description"))
        return await self._commit_page(slug, commit) if said == _said(status) else None

    async def post_status(self, slug: str, commit: str, status: CommitStatus) -> Posted:
        """Set the status of a commit."""
        what = f"Setting a status of {slug} {commit[:10]}"
        state, description = _said(status)
        data = {"state": state, "name": status.context, "description": description}
        path = f"{project_path(slug)}/statuses/{quote(commit, safe='')}"
        await self._write("POST", path, what, data)
        return await self._commit_page(slug, commit)

    async def find_pull(self, slug: str, new: NewPull, mark: str) -> Posted | None:
        """Return the merge request of a branch whose text contains `mark`."""
        query = f"state=all&source_branch={quote(new.head_ref, safe='')}&per_page={PAGE}"
        what = f"Looking for the merge request of {new.head_ref}"
        found = await self._get_all(f"{project_path(slug)}/merge_requests?{query}", what)
        mine = (one for one in found if mark in (one.get("description") or ""))
        return next((Posted(cut(one["web_url"], 1000)) for one in mine), None)

    async def open_pull(self, slug: str, new: NewPull) -> Posted:
        """Open a merge request of a branch of the same project. Raises `Refused` for a fork's."""
        what = f"Opening a merge request of {new.head_ref} in {slug}"
        if new.head_repository.lower() != slug.lower():
            raise Refused(f"{what} failed: only branches of {slug} itself can be offered.")
        data = {
            "source_branch": new.head_ref, "target_branch": new.base_ref, "description": new.body,
            "title": f"Draft: {new.title}" if new.draft else new.title,
        }  # fmt: skip
        made = await self._write("POST", f"{project_path(slug)}/merge_requests", what, data)
        return Posted(cut(made["web_url"], 1000))

    async def change_labels(
        self, slug: str, number: int, add: Sequence[str], remove: Sequence[str]
    ) -> Posted:
        """Give a merge request labels and take others from it. GitLab makes a label that it does not know."""
        what, place = f"Changing the labels of {slug}!{number}", _merge(slug, number)
        if any("," in name for name in (*add, *remove)):
            raise Refused(f"{what} failed: a name with a comma is two labels to GitLab.")
        data = {"add_labels": ",".join(add), "remove_labels": ",".join(remove)}
        done = await self._write("PUT", place, what, {name: names for name, names in data.items() if names})
        return Posted(cut(done.get("web_url"), 1000))

    async def _thread(self, slug: str, number: int, thread: str, what: str) -> Mapping[str, Any]:
        try:
            path = f"{_merge(slug, number)}/discussions/{quote(thread, safe='')}"
            return dict(await self._get(path, what))
        except NotFound as error:
            raise Refused(f"{slug}!{number} no longer has the thread.", hint="Drop the draft.") from error

    async def _posted(self, place: str, note: Mapping[str, Any], what: str) -> Posted:
        page = cut((await self._get(place, what)).get("web_url"), 900)
        return Posted(f"{page}#note_{int(note['id'])}")

    async def _commit_page(self, slug: str, commit: str) -> Posted:
        page = cut((await self._get(project_path(slug), f"Reading {slug}")).get("web_url"), 900)
        return Posted(f"{page}/-/commit/{commit}")


def _merge(slug: str, number: int) -> str:
    return f"{project_path(slug)}/merge_requests/{number}"


def _own(notes: Sequence[Mapping[str, Any]], me: int, text: str) -> Mapping[str, Any] | None:
    for note in notes:
        if (note.get("author") or {}).get("id") == me and text in str(note.get("body")):
            return note
    return None


def _said(status: CommitStatus) -> tuple[str, str]:
    return _STATES[status.state], status.description


def _position(
    comment: LineComment, file: Mapping[str, Any], refs: Mapping[str, Any]
) -> dict[str, str | int | None]:
    """Return where a thread is. A line that the change leaves alone is named by both its numbers."""
    place: dict[str, str | int | None] = {
        **{name: refs.get(name) for name in ("base_sha", "start_sha", "head_sha")},
        "old_path": file.get("old_path") or comment.path,
        "new_path": comment.path,
        "position_type": "text" if comment.line is not None else "file",
    }
    if comment.line is not None:
        place["new_line"] = comment.line
        if (old := old_line(str(file.get("diff") or ""), comment.line)) is not None:
            place["old_line"] = old
    return place


# What GitLab answers to a change that it made.
DONE = (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT)
