"""Read GitLab's answers (REST v4) into `jobs.forges.pulls`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jobs.forges.pulls import (
    LONGEST_BODY,
    MOST_CHECKS,
    MOST_COMMENTS,
    MOST_LABELS,
    MOST_REVIEWS,
    Check,
    Comment,
    Issue,
    Mergeable,
    Pull,
    RelatedIssue,
    Review,
    Rules,
    Thread,
    cut,
    web_address,
)

_OUTCOMES = {
    "success": "success",
    "skipped": "neutral",
    "manual": "neutral",
    "failed": "failure",
    "canceled": "failure",
    "canceling": "failure",
}
# GitLab's words for a job, in the words of checks.
_SAID = {"canceled": "cancelled", "failed": "failure"}
# `detailed_merge_status` while GitLab is still computing it.
_UNKNOWN = ("", "unchecked", "checking", "preparing", "cannot_be_merged_recheck", "approvals_syncing")
_REVIEWS = {"approved": "approved", "requested_changes": "changes_requested", "unapproved": "dismissed"}


def read_listed(item: Mapping[str, Any]) -> Pull:
    """Read a merge request as a list has it."""
    state = cut(item.get("state"), 16)
    full = cut((item.get("references") or {}).get("full"))
    own = item.get("source_project_id") == item.get("target_project_id")
    return Pull(
        number=int(item["iid"]),
        title=cut(item.get("title")),
        author=_user(item.get("author")),
        state="open" if state == "opened" else "closed" if state == "locked" else state,
        draft=bool(item.get("draft")),
        url=web_address(item.get("web_url")),
        base_ref=cut(item.get("target_branch"), 255),
        head_ref=cut(item.get("source_branch"), 255),
        # Of a fork GitLab tells the number only.
        head_repository=cut(full.partition("!")[0], 300) if own else "",
        head_sha=cut(item.get("sha"), 64),
        updated_at=cut(item.get("updated_at"), 40),
        labels=tuple(cut(label, 100) for label in item.get("labels") or ())[:MOST_LABELS],
    )


def read_pull(
    item: Mapping[str, Any],
    project: Mapping[str, Any],
    *,
    approvals: Mapping[str, Any] | None,
    reviewers: Sequence[Mapping[str, Any]] | None,
    discussions: Sequence[Mapping[str, Any]] | None,
    issues: Sequence[Mapping[str, Any]] | None,
    files: Mapping[str, str],
    checks: Sequence[Check],
) -> Pull:
    """Read one merge request. An answer that GitLab gives to members only is None."""
    status = cut(item.get("detailed_merge_status"), 40)
    mergeable: Mergeable = "no" if item.get("has_conflicts") else "yes"
    lines = [line for patch in files.values() for line in patch.splitlines()]
    pull = read_listed(item)
    return replace(
        pull,
        detailed=True,
        id=cut(str(item.get("id") or ""), 100),
        mergeable="unknown" if status in _UNKNOWN else mergeable,
        merge_state=_merge_state(status),
        review_decision=_decision(status, approvals),
        can_push=bool(item.get("allow_collaboration")),
        additions=sum(line.startswith("+") for line in lines),
        deletions=sum(line.startswith("-") for line in lines),
        changed_files=len(files),
        linked_issues=tuple(int(issue["iid"]) for issue in issues or ()),
        checks=tuple(checks)[:MOST_CHECKS],
        threads=None if discussions is None else _threads(discussions, pull),
        base_sha=cut((item.get("diff_refs") or {}).get("base_sha"), 64),
        reviews=_reviews(reviewers, approvals),
        rules=_rules(project, approvals),
    )


def read_checks(
    jobs: Sequence[Mapping[str, Any]],
    statuses: Sequence[Mapping[str, Any]],
    project: Mapping[str, Any],
    *,
    has_logs: bool,
) -> list[Check]:
    """Return the jobs of a pipeline, and what other services said of its commit.

    A job is required when the project wants green pipelines and the job may not fail. `has_logs`: the
    pipeline is the project's own, so that its jobs are found there.
    """
    wants_green = project.get("only_allow_merge_if_pipeline_succeeds")
    found = []
    for one in jobs:
        may_fail = bool(one.get("allow_failure"))
        found.append(
            _check(
                one,
                required=False if may_fail else wants_green,
                url=one.get("web_url"),
                log=int(one["id"]) if has_logs else None,
            )
        )
    names = {check.name for check in found}
    return found + [
        _check(one, required=False if one.get("allow_failure") else wants_green, url=one.get("target_url"))
        for one in statuses
        if cut(one.get("name"), 200) not in names
    ]


def _check(item: Mapping[str, Any], *, required: bool | None, url: Any, log: int | None = None) -> Check:
    status = cut(item.get("status"), 40)
    return Check(
        name=cut(item.get("name"), 200),
        outcome=_OUTCOMES.get(status, "pending"),
        required=required,
        url=web_address(url),
        said=_SAID.get(status, status),
        workflow=cut(item.get("stage"), 200),
        log=log,
    )


def _threads(discussions: Sequence[Mapping[str, Any]], pull: Pull) -> tuple[Thread, ...]:
    """Return the discussions that can be resolved; others are plain comments."""
    found = []
    for one in discussions:
        notes = [note for note in one.get("notes") or () if note.get("resolvable")]
        if not notes:
            continue
        place = notes[0].get("position") or {}
        comments = tuple(
            Comment(
                _user(note.get("author")),
                cut(note.get("body"), LONGEST_BODY),
                f"{pull.url}#note_{int(note['id'])}" if pull.url else "",
                cut(note.get("created_at"), 40),
            )
            for note in notes[:MOST_COMMENTS]
        )
        line = place.get("new_line") or place.get("old_line")
        found.append(
            Thread(
                cut(one.get("id"), 200),
                cut(place.get("new_path") or place.get("old_path"), 1000),
                int(line) if line else None,
                all(bool(note.get("resolved")) for note in notes),
                comments,
                # The place of a thread moves with each push for as long as its lines are there.
                bool(place) and place.get("head_sha") != pull.head_sha,
            )
        )
    return tuple(found)


def _reviews(
    reviewers: Sequence[Mapping[str, Any]] | None, approvals: Mapping[str, Any] | None
) -> tuple[Review, ...] | None:
    if reviewers is None and approvals is None:
        return None
    found = {
        _user(one.get("user")): Review(_user(one.get("user")), _REVIEWS[one["state"]])
        for one in reviewers or ()
        if one.get("state") in _REVIEWS
    }
    for one in (approvals or {}).get("approved_by") or ():
        name = _user(one.get("user"))
        found[name] = Review(name, "approved", at=cut(one.get("approved_at"), 40))
    return tuple(found.values())[:MOST_REVIEWS]


def _rules(project: Mapping[str, Any], approvals: Mapping[str, Any] | None) -> Rules | None:
    resolved = project.get("only_allow_merge_if_all_discussions_are_resolved")
    if resolved is None and approvals is None:
        return None
    method = cut(project.get("merge_method"), 20)
    return Rules(
        approvals=int((approvals or {}).get("approvals_required") or 0),
        resolved_threads=bool(resolved),
        up_to_date=method in ("ff", "rebase_merge"),
    )


def _decision(status: str, approvals: Mapping[str, Any] | None) -> str:
    if status == "requested_changes":
        return "changes_requested"
    if status == "not_approved" or int((approvals or {}).get("approvals_left") or 0) > 0:
        return "review_required"
    return "approved" if (approvals or {}).get("approved_by") else ""


def _merge_state(status: str) -> str:
    """Return GitLab's word in those of `Pull.merge_state`, where one says the same."""
    if status == "need_rebase":
        return "behind"
    return "clean" if status == "mergeable" else "blocked" if status not in _UNKNOWN else "unknown"


def read_issue(item: Mapping[str, Any], notes: Sequence[Mapping[str, Any]]) -> Issue:
    """Return an issue, with the epic that it belongs to as its parent."""
    epic = item.get("epic")
    said = [note for note in notes if not note.get("system")][:MOST_COMMENTS]
    return Issue(
        number=int(item["iid"]),
        title=cut(item["title"]),
        body=cut(item.get("description"), LONGEST_BODY),
        author=_user(item.get("author")),
        state={"opened": "open"}.get(str(item["state"]), cut(item["state"], 20)),
        url=web_address(item["web_url"]),
        labels=tuple(cut(name, 100) for name in item["labels"][:MOST_LABELS]),
        comments=tuple(Comment(_user(note["author"]), cut(note["body"], LONGEST_BODY)) for note in said),
        parents=(RelatedIssue(f"&{int(epic['iid'])}", cut(epic["title"])),) if epic else (),
    )


def _user(user: Mapping[str, Any] | None) -> str:
    return cut((user or {}).get("username"), 100)
