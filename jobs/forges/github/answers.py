"""Read GitHub's answers into `jobs.forges.pulls`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jobs.forges.ci_log import Step
from jobs.forges.pulls import (
    LONGEST_BODY,
    MOST_CHECKS,
    MOST_LABELS,
    MOST_REVIEWS,
    Check,
    Comment,
    LineComment,
    Mergeable,
    Pull,
    Review,
    Rules,
    Thread,
    cut,
    web_address,
)

_MERGEABLE: Mapping[str, Mergeable] = {"MERGEABLE": "yes", "CONFLICTING": "no"}
_OUTCOMES = {
    "SUCCESS": "success",
    "NEUTRAL": "neutral",
    "SKIPPED": "neutral",
    "PENDING": "pending",
    "EXPECTED": "pending",
}


def read_listed(item: Mapping[str, Any]) -> Pull:
    """Read a pull request as REST lists it."""
    head, repository = item["head"], item["head"].get("repo") or {}
    merged = bool(item.get("merged_at"))
    return Pull(
        number=int(item["number"]),
        title=cut(item.get("title")),
        author=cut((item.get("user") or {}).get("login"), 100),
        state="merged" if merged else cut(item.get("state"), 16),
        draft=bool(item.get("draft")),
        url=web_address(item.get("html_url")),
        base_ref=cut(item["base"]["ref"], 255),
        head_ref=cut(head.get("ref"), 255),
        head_repository=cut(repository.get("full_name"), 300),
        head_sha=cut(head["sha"], 64),
        updated_at=cut(item.get("updated_at"), 40),
        labels=tuple(cut(label["name"], 100) for label in item.get("labels") or ())[:MOST_LABELS],
    )


def read_rest_pull(item: Mapping[str, Any], runs: Mapping[str, Any], status: Mapping[str, Any]) -> Pull:
    """Read one pull request, and the checks of its head, as REST answers them."""
    checks = [
        _check(run["name"], run.get("status"), run.get("conclusion"), run.get("details_url"),
               number=run.get("id"), app=(run.get("app") or {}).get("slug"))
        for run in runs.get("check_runs") or ()
    ] + [
        _check(one["context"], "completed", one["state"], one.get("target_url"))
        for one in status.get("statuses") or ()
    ]  # fmt: skip
    mergeable: Mergeable = "unknown"
    if item.get("mergeable") is not None:
        mergeable = "yes" if item["mergeable"] else "no"
    return replace(
        read_listed(item),
        detailed=True,
        id=cut(item.get("node_id"), 100),
        mergeable=mergeable,
        merge_state=cut(item.get("mergeable_state"), 20).lower(),
        can_push=bool(item.get("maintainer_can_modify")),
        additions=int(item.get("additions") or 0),
        deletions=int(item.get("deletions") or 0),
        changed_files=int(item.get("changed_files") or 0),
        checks=tuple(checks),
    )


def read_pull(node: Mapping[str, Any], checks: Sequence[Check], threads: Sequence[Thread]) -> Pull:
    """Read one pull request as GraphQL answers it."""
    return Pull(
        number=int(node["number"]),
        title=cut(node["title"]),
        author=_login(node),
        state=cut(node["state"], 16).lower(),
        draft=bool(node["isDraft"]),
        url=web_address(node["url"]),
        base_ref=cut(node["baseRefName"], 255),
        head_ref=cut(node["headRefName"], 255),
        head_repository=cut((node["headRepository"] or {}).get("nameWithOwner"), 300),
        head_sha=cut(node["headRefOid"], 64),
        updated_at=cut(node["updatedAt"], 40),
        labels=tuple(cut(label["name"], 100) for label in (node["labels"] or {}).get("nodes") or ()),
        detailed=True,
        id=cut(node["id"], 100),
        mergeable=_MERGEABLE.get(node["mergeable"], "unknown"),
        merge_state=cut(node["mergeStateStatus"], 20).lower(),
        review_decision=cut(node["reviewDecision"], 20).lower(),
        can_push=bool(node["maintainerCanModify"]),
        additions=int(node["additions"]),
        deletions=int(node["deletions"]),
        changed_files=int(node["changedFiles"]),
        linked_issues=tuple(
            int(n["number"]) for n in (node["closingIssuesReferences"] or {}).get("nodes") or ()
        ),
        checks=tuple(checks),
        threads=tuple(threads),
        base_sha=cut(node["baseRefOid"], 64),
        reviews=tuple(_reviews(node)),
        rules=_rules(node["baseRef"]),
    )


def read_checks(node: Mapping[str, Any]) -> tuple[list[Check], str]:
    """Return a page of the checks of exactly the head, and where the next begins (empty: nowhere)."""
    commits = node["commits"]["nodes"]
    commit = commits[-1]["commit"] if commits else {}
    rollup = commit.get("statusCheckRollup")
    if not rollup or commit.get("oid") != node["headRefOid"]:
        return [], ""
    found = []
    for item in rollup["contexts"]["nodes"]:
        if item["__typename"] == "CheckRun":
            suite = item["checkSuite"]
            run = suite["workflowRun"] or {}
            found.append(
                _check(
                    item["name"],
                    item["status"],
                    item["conclusion"],
                    item["detailsUrl"],
                    required=item["isRequired"],
                    number=item["databaseId"],
                    app=(suite["app"] or {}).get("slug"),
                    workflow=(run.get("workflow") or {}).get("name"),
                )
            )
        else:
            required = item["isRequired"]
            found.append(
                _check(item["context"], "completed", item["state"], item["targetUrl"], required=required)
            )
    return found, _next(rollup["contexts"]["pageInfo"])


def read_threads(node: Mapping[str, Any]) -> tuple[list[Thread], str]:
    """Return a page of the review threads, and where the next begins."""
    threads = node["reviewThreads"]
    found = []
    for item in threads["nodes"]:
        comments = tuple(
            Comment(
                _login(one),
                cut(one["body"], LONGEST_BODY),
                web_address(one["url"]),
                cut(one["createdAt"], 40),
            )
            for one in item["comments"]["nodes"]
        )
        found.append(
            Thread(
                cut(item["id"], 200),
                cut(item["path"], 1000),
                item["line"],
                item["isResolved"],
                comments,
                item["isOutdated"],
            )
        )
    return found, _next(threads["pageInfo"])


def read_steps(job: Mapping[str, Any]) -> tuple[Step, ...]:
    """Return the steps of a job of Actions."""
    return tuple(
        Step(
            cut(step.get("name"), 200),
            step.get("conclusion") == "failure",
            cut(step.get("started_at"), 40),
            cut(step.get("completed_at"), 40),
        )
        for step in job.get("steps") or ()
    )


def write_thread(comment: LineComment) -> dict[str, Any]:
    """Return a comment on lines as GraphQL's `DraftPullRequestReviewThread`."""
    thread: dict[str, Any] = {
        "path": comment.path, "line": comment.line, "side": comment.side, "body": comment.body
    }  # fmt: skip
    if comment.start_line is not None and comment.start_line != comment.line:
        thread |= {"startLine": comment.start_line, "startSide": comment.side}
    return thread


def _check(
    name: Any,
    status: Any,
    conclusion: Any,
    url: Any,
    *,
    required: bool | None = None,
    number: Any = None,
    app: Any = "",
    workflow: Any = "",
) -> Check:
    ended = str(status).upper() == "COMPLETED"
    return Check(
        name=cut(name, 200),
        outcome=_OUTCOMES.get(str(conclusion).upper(), "failure") if ended else "pending",
        required=required,
        url=web_address(url),
        said=cut(conclusion if ended else status, 40).lower(),
        workflow=cut(workflow, 200),
        # A check run of Actions has the number of its job, which alone has a log in the API.
        log=int(number) if number is not None and app == "github-actions" else None,
    )


def _reviews(node: Mapping[str, Any]) -> list[Review]:
    found = (node["latestOpinionatedReviews"] or {}).get("nodes") or ()
    return [
        Review(
            _login(one),
            cut(one["state"], 20).lower(),
            cut((one["commit"] or {}).get("oid"), 64),
            cut(one["submittedAt"], 40),
        )
        for one in found
    ][:MOST_REVIEWS]


def _rules(base: Mapping[str, Any] | None) -> Rules | None:
    """Return the rules of branch protection and of rulesets together; None when the base is gone."""
    if base is None:
        return None
    rule = base["refUpdateRule"] or {}
    approvals = [int(rule.get("requiredApprovingReviewCount") or 0)]
    owners = [bool(rule.get("requiresCodeOwnerReviews"))]
    threads = [bool(rule.get("requiresConversationResolution"))]
    checks = [*(rule.get("requiredStatusCheckContexts") or ())]
    up_to_date = False
    for one in (base["rules"] or {}).get("nodes") or ():
        wanted = one["parameters"] or {}
        if wanted.get("__typename") == "PullRequestParameters":
            approvals.append(int(wanted["requiredApprovingReviewCount"]))
            owners.append(bool(wanted["requireCodeOwnerReview"]))
            threads.append(bool(wanted["requiredReviewThreadResolution"]))
        elif wanted.get("__typename") == "RequiredStatusChecksParameters":
            checks += [check["context"] for check in wanted["requiredStatusChecks"]]
            up_to_date = up_to_date or bool(wanted["strictRequiredStatusChecksPolicy"])
    names = dict.fromkeys(cut(name, 200) for name in checks if name)
    return Rules(max(approvals), any(owners), any(threads), up_to_date, tuple(names)[:MOST_CHECKS])


def _login(node: Mapping[str, Any]) -> str:
    return cut((node["author"] or {}).get("login"), 100)


def _next(page: Mapping[str, Any]) -> str:
    return str(page["endCursor"] or "") if page["hasNextPage"] else ""
