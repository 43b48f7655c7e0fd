"""A strict GitHub on loopback: REST lists and the GraphQL that the client uses, executed by graphql-core over
a cut of the published schema (`github.graphql`).

It pages, answers 304 to a known ETag, counts requests against a limit, and can lie about mergeability for a
while, lose the answer of a mutation after it was carried out, and move a head.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from graphql import GraphQLError, build_schema, graphql_sync

SCHEMA = Path(__file__).with_name("github.graphql").read_text()
TOKEN = "ghp_a-token-that-only-the-fake-knows"
SHA = "1" * 40
PATCH = "@@ -1,2 +1,3 @@\n one\n+two\n three"


class GitHub(ThreadingHTTPServer):
    """One repository, acme/shop. Change `pulls` and the faults from a test."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pulls: dict[int, dict[str, Any]] = {}
        self.issues: dict[int, dict[str, Any]] = {}  # REST's keys, and `_comments`, `_parent`, `_children`
        self.has_branch: Callable[[str], bool] = lambda name: True
        self.reviews: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str, int]] = []
        self.statuses: list[tuple[str, dict[str, Any]]] = []  # commit, and what was set; the oldest first
        self.commits: set[str] = set()  # of former heads
        self.branches: dict[str, str] = {}  # which count before commits whose id begins so
        self.limit = 5000
        self.used = 0
        self.unknown_mergeability = 0  # so many answers say UNKNOWN
        self.lose_answers_of: set[str] = set()  # mutations that are carried out without an answer
        self.graphql_error = ""  # what every query answers, after it was carried out
        self.refused_event = ""  # as for the author of the pull request
        self.logs: dict[int, tuple[list[dict[str, Any]], bytes]] = {}  # of jobs of Actions: steps, log
        self.file_requests: list[str | None] = []  # the Authorization of each request for a log's file
        self.too_fast = False  # every answer is that requests come too fast
        self.elsewhere = ""  # the origin of further pages, when it is not this one
        self.schema = build_schema(SCHEMA)
        for name, kind in (
            ("CheckRun", "CheckRun"),
            ("StatusContext", "StatusContext"),
            ("PullRequestParameters", "PullRequestParameters"),
            ("RequiredStatusChecksParameters", "RequiredStatusChecksParameters"),
        ):
            self.schema.type_map[name].is_type_of = lambda v, _, k=kind: v["__typename"] == k  # type: ignore[attr-defined]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, number: int, **values: Any) -> dict[str, Any]:
        """Add an open pull request; keys are GraphQL's."""
        pull = {
            "id": f"PR_{number}", "number": number, "title": f"Change {number}", "state": "OPEN",
            "url": f"https://github.test/acme/shop/pull/{number}", "isDraft": False, "author": "ada",
            "maintainerCanModify": True, "updatedAt": "2026-11-27T10:00:00Z", "baseRefName": "main",
            "headRefName": f"topic-{number}", "headRefOid": SHA, "mergeable": "MERGEABLE",
            "mergeStateStatus": "CLEAN", "reviewDecision": None, "additions": 1, "deletions": 0,
            "changedFiles": 1, "labels": ["bug"], "issues": [7], "checks": [], "threads": [],
            "files": {"app.txt": PATCH}, "baseRefOid": "2" * 40, "rule": None, "rulesets": [],
            "opinions": [], "body": None, "headOwner": "ada",
        } | values  # fmt: skip
        self.pulls[number] = pull
        return pull

    def add_issue(self, number: int, **values: Any) -> dict[str, Any]:
        """Add an open issue; keys are REST's."""
        issue = {
            "number": number, "title": f"Issue {number}", "body": None, "state": "open", "labels": [],
            "user": {"login": "bob"}, "html_url": f"https://github.test/acme/shop/issues/{number}",
            "repository_url": f"{self.url}/repos/acme/shop", "_comments": [], "_parent": 0, "_children": [],
        } | values  # fmt: skip
        self.issues[number] = issue
        return issue


@contextmanager
def github() -> Iterator[GitHub]:
    """Serve an empty repository."""
    with GitHub() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def _comment(body: str) -> dict[str, Any]:
    return {
        "author": {"login": "bob"}, "body": body, "url": "https://github.test/acme/shop/pull/1#discussion_r1",
        "createdAt": "2026-11-27T09:00:00Z", "viewerDidAuthor": False,
    }  # fmt: skip


# What a check run has, unless a test says otherwise: it is another service's.
_SUITE: dict[str, Any] = {"databaseId": 1, "checkSuite": {"app": {"slug": "ci"}, "workflowRun": None}}


def _slice(
    items: list[Any], first: int | None, after: str | None, last: int | None, before: str | None
) -> Any:
    """A connection. Cursors are positions."""
    if not (first or last) or max(first or 0, last or 0) > 100:
        raise GraphQLError("You must provide a `first` or `last` value of at most 100.")
    start, end = int(after or 0), int(before or len(items))
    start, end = (start, min(end, start + first)) if first else (max(start, end - (last or 0)), end)
    info = {
        "hasNextPage": end < len(items), "endCursor": str(end),
        "hasPreviousPage": start > 0, "startCursor": str(start),
    }  # fmt: skip
    return {"nodes": items[start:end], "pageInfo": info}


def _connection(items: Any) -> Any:
    def resolve(info: Any, first: Any = None, after: Any = None, last: Any = None, before: Any = None) -> Any:
        return _slice(items, first, after, last, before)

    return resolve


class _Root:
    """The resolvers of `Query` and `Mutation`."""

    def __init__(self, server: GitHub) -> None:
        self.server = server

    def repository(self, info: Any, owner: str, name: str) -> Any:
        if (owner, name) != ("acme", "shop"):
            raise GraphQLError(f"Could not resolve to a Repository with the name '{owner}/{name}'.")
        return {"nameWithOwner": "acme/shop", "pullRequest": self._pull}

    def _pull(self, info: Any, number: int) -> Any:
        pull = self.server.pulls.get(number)
        if pull is None:
            raise GraphQLError(f"Could not resolve to a PullRequest with the number of {number}.")
        checks = [
            {**_SUITE, **check, "isRequired": lambda info, pullRequestNumber=None, r=check["required"]: r}
            for check in pull["checks"]
        ]  # fmt: skip
        threads = [
            {"isOutdated": False, **thread, "comments": _connection(
                [_comment(thread["body"]), *thread.get("replies", ())])}
            for thread in pull["threads"]
        ]  # fmt: skip
        unknown = self.server.unknown_mergeability > 0
        self.server.unknown_mergeability -= unknown
        rollup = {"contexts": _connection(checks)} if checks else None
        commit = {"commit": {"oid": pull["headRefOid"], "statusCheckRollup": rollup}}
        return pull | {
            "author": {"login": pull["author"]},
            "headRepository": {"nameWithOwner": "ada/shop"},
            "mergeable": "UNKNOWN" if unknown else pull["mergeable"],
            "labels": _connection([{"name": name} for name in pull["labels"]]),
            "baseRef": {"refUpdateRule": pull["rule"], "rules": _connection(pull["rulesets"])},
            "latestOpinionatedReviews": _connection(
                [
                    {
                        "author": {"login": login},
                        "state": state,
                        "submittedAt": "2026-11-27T09:00:00Z",
                        "commit": {"oid": oid},
                    }
                    for login, state, oid in pull["opinions"]
                ]
            ),
            "closingIssuesReferences": _connection([{"number": n} for n in pull["issues"]]),
            "reviewThreads": _connection(threads),
            "commits": _connection([commit]),
            "reviews": _connection([r for r in self.server.reviews if r["pull"] == pull["id"]]),
        }

    def _find_thread(self, id: str) -> Any:
        threads = [thread for pull in self.server.pulls.values() for thread in pull["threads"]]
        found = next((thread for thread in threads if thread["id"] == id), None)
        if found is None:
            raise GraphQLError(f"Could not resolve to a node with the global id of '{id}'")
        return found

    def addPullRequestReviewThreadReply(self, info: Any, input: dict[str, Any]) -> Any:
        thread = self._find_thread(input["pullRequestReviewThreadId"])
        if any(review["state"] == "PENDING" for review in self.server.reviews):
            raise GraphQLError("the client must not answer into a pending review")
        replies = thread.setdefault("replies", [])
        replies.append(
            _comment(input["body"])
            | {"viewerDidAuthor": True, "url": f"https://github.test/r/{len(replies)}"}
        )
        return {"comment": replies[-1]}

    def resolveReviewThread(self, info: Any, input: dict[str, Any]) -> Any:
        thread = self._find_thread(input["threadId"])
        thread["isResolved"] = True
        return {"thread": {"id": thread["id"], "isResolved": True}}

    def addPullRequestReview(self, info: Any, input: dict[str, Any]) -> Any:
        pull = next(p for p in self.server.pulls.values() if p["id"] == input["pullRequestId"])
        if any(r["state"] == "PENDING" for r in self.server.reviews):
            raise GraphQLError("User can only have one pending review per pull request")
        if input["commitOID"] != pull["headRefOid"]:
            raise GraphQLError("The commitOID is not part of the pull request")
        review = {
            "id": f"PRR_{len(self.server.reviews) + 1}", "pull": pull["id"], "state": "PENDING",
            "body": input.get("body") or "", "viewerDidAuthor": True, "threads": [],
            "url": f"{pull['url']}#pullrequestreview-{len(self.server.reviews) + 1}",
        }  # fmt: skip
        # As recorded of GitHub: comments outside of the hunks vanish without a word.
        review["threads"] = [t for t in input.get("threads") or [] if t["line"] in (1, 2, 3)]
        self.server.reviews.append(review)
        return {"pullRequestReview": review}

    def _review(self, id: str) -> dict[str, Any]:
        found = next((r for r in self.server.reviews if r["id"] == id and r["state"] == "PENDING"), None)
        if found is None:
            raise GraphQLError(f"Could not resolve to a node with the global id of '{id}'")
        return found

    def addPullRequestReviewThread(self, info: Any, input: dict[str, Any]) -> Any:
        self._review(input["pullRequestReviewId"])["threads"].append(input)
        return {"thread": None}

    def submitPullRequestReview(self, info: Any, input: dict[str, Any]) -> Any:
        review = self._review(input["pullRequestReviewId"])
        if input["event"] == self.server.refused_event:
            raise GraphQLError("Review Can not approve your own pull request")
        review["body"] = input.get("body") or review["body"]
        review["state"] = {"COMMENT": "COMMENTED", "APPROVE": "APPROVED"}.get(
            input["event"], "CHANGES_REQUESTED"
        )
        return {"pullRequestReview": review}

    def deletePullRequestReview(self, info: Any, input: dict[str, Any]) -> Any:
        review = self._review(input["pullRequestReviewId"])
        self.server.reviews.remove(review)
        return {"pullRequestReview": review}


class _Handler(BaseHTTPRequestHandler):
    server: GitHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        words = parts.path.strip("/").split("/")
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        if words[0] == "files":
            # Another host in the real one: the address alone gives the file.
            self.server.file_requests.append(self.headers.get("Authorization"))
            self._answer(200, self.server.logs[int(words[1])][1], resource="files")
            return
        if not self._may():
            return
        if words == ["rate_limit"]:
            self._answer(200, {"resources": {}}, resource="core")
            self.server.used -= 1
            return
        if words[:3] != ["repos", "acme", "shop"]:
            self._answer(404, {"message": "Not Found"})
            return
        match words[3:]:
            case ["pulls"]:
                pulls = [p for p in self.server.pulls.values() if query["state"] in ("all", "open")]
                if query["state"] == "open":
                    pulls = [pull for pull in pulls if pull["state"] == "OPEN"]
                if head := query.get("head"):
                    pulls = [p for p in pulls if f"{p['headOwner']}:{p['headRefName']}" == head]
                self._page([_rest(pull) for pull in pulls], query)
            case ["issues", number, *rest] if int(number) in self.server.issues:
                self._issue(self.server.issues[int(number)], rest, query)
            case ["issues", number] if int(number) in self.server.pulls:
                pull = _rest(self.server.pulls[int(number)])
                self._answer(200, {**pull, "pull_request": {"url": pull["html_url"]}})
            case ["pulls", number] if int(number) in self.server.pulls:
                self._answer(200, _rest_full(self.server.pulls[int(number)]))
            case ["pulls", number, "files"] if int(number) in self.server.pulls:
                files = self.server.pulls[int(number)]["files"]
                self._page([{"filename": name, "patch": patch} for name, patch in files.items()], query)
            case ["actions", "jobs", number, *rest] if int(number) in self.server.logs:
                if not rest:
                    steps = self.server.logs[int(number)][0]
                    self._answer(200, {"id": int(number), "status": "completed", "steps": steps})
                elif self.headers.get("Authorization") is None:
                    self._answer(403, {"message": "Must have admin rights to Repository."})
                else:
                    where = f"http://localhost:{self.server.server_port}/files/{number}"
                    self._answer(302, {}, {"Location": where})
            case ["commits", name]:
                known = {pull["headRefOid"] for pull in self.server.pulls.values()} | self.server.commits
                found = [sha for sha in known if sha.startswith(name)]
                if name in self.server.branches or len(found) == 1:
                    self._answer(200, {"sha": self.server.branches.get(name) or found[0], "files": []})
                else:
                    self._answer(422, {"message": f"No commit found for SHA: {name}"})
            case ["commits", _, "check-runs"]:
                run = {
                    "name": "test",
                    "status": "completed",
                    "conclusion": "failure",
                    "details_url": "https://x.test/",
                }
                self._answer(200, {"total_count": 1, "check_runs": [run]})
            case ["commits", sha, "statuses"]:
                mine = [status for commit, status in self.server.statuses if commit == sha]
                self._page(mine[::-1], query)
            case ["commits", _, "status"]:
                self._answer(200, {"state": "success", "statuses": []})
            case _:
                self._answer(404, {"message": "Not Found"})

    def _issue(self, issue: dict[str, Any], rest: list[str], query: dict[str, str]) -> None:
        shown = {key: value for key, value in issue.items() if key[0] != "_"}
        match rest:
            case []:
                self._answer(200, shown)
            case ["comments"]:
                self._page(issue["_comments"], query)
            case ["sub_issues"]:
                self._page([self.server.issues[number] for number in issue["_children"]], query)
            case ["parent"] if issue["_parent"]:
                self._issue(self.server.issues[issue["_parent"]], [], query)
            case _:
                self._answer(404, {"message": "Not Found"})

    def _open_pull(self, body: dict[str, Any]) -> None:
        if not self._may():
            return None
        known = {"title", "body", "head", "base", "draft"}
        taken = {p["headRefName"] for p in self.server.pulls.values() if p["state"] == "OPEN"}
        if set(body) != known or not body["title"] or not self.server.has_branch(body["head"]):
            return self._answer(422, {"message": "Validation Failed"})
        if body["head"] in taken:
            return self._answer(422, {"message": "A pull request already exists for that branch."})
        number = max([0, *self.server.pulls, *self.server.issues]) + 1
        pull = self.server.add(
            number, title=body["title"], body=body["body"], baseRefName=body["base"], headOwner="acme",
            headRefName=body["head"], isDraft=body["draft"],
        )  # fmt: skip
        if "openPull" in self.server.lose_answers_of:
            self.server.lose_answers_of.discard("openPull")
            self.close_connection = True
            return None
        return self._answer(201, _rest(pull))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.startswith("/repos/acme/shop/statuses/") and self.headers.get("Authorization"):
            return self._set_status(self.path.rpartition("/")[2], body)
        if self.path == "/repos/acme/shop/pulls" and self.headers.get("Authorization"):
            return self._open_pull(body)
        if self.path.startswith("/repos/acme/shop/issues/") and self.headers.get("Authorization"):
            return self._add_labels(self.path.split("/")[5], body)
        if self.path != "/graphql" or self.headers.get("Authorization") is None:
            return self._answer(401, {"message": "This endpoint requires you to be authenticated."})
        if not self._may():
            return None
        done = graphql_sync(
            self.server.schema, body["query"], _Root(self.server), variable_values=body.get("variables")
        )
        for name in list(self.server.lose_answers_of):
            if f"{name}(" in body["query"] and not done.errors:
                self.server.lose_answers_of.discard(name)
                self.close_connection = True
                self.server.requests.append(("POST", "lost", 0))
                return None
        answer: dict[str, Any] = {"data": done.data}
        if self.server.graphql_error:
            answer = {"data": None, "errors": [{"message": self.server.graphql_error}]}
        if done.errors:
            answer["errors"] = [{"message": error.message, "type": "X"} for error in done.errors]
        return self._answer(200, answer, resource="graphql")

    def _set_status(self, sha: str, body: dict[str, Any]) -> None:
        if not self._may():
            return None
        known = {"state", "context", "description", "target_url"}
        states = ("error", "failure", "pending", "success")
        if set(body) - known or body["state"] not in states or len(body["description"]) > 140:
            return self._answer(422, {"message": "Validation Failed"})
        if sha not in {pull["headRefOid"] for pull in self.server.pulls.values()} | self.server.commits:
            return self._answer(422, {"message": f"No commit found for SHA: {sha}"})
        self.server.statuses.append((sha, body))
        if "status" in self.server.lose_answers_of:
            self.server.lose_answers_of.discard("status")
            self.close_connection = True
            return None
        return self._answer(201, body)

    def _add_labels(self, number: str, body: dict[str, Any]) -> None:
        if not self._may():
            return None
        if set(body) != {"labels"} or not body["labels"] or any(len(name) > 50 for name in body["labels"]):
            return self._answer(422, {"message": "Validation Failed"})
        labels = self.server.pulls[int(number)]["labels"]
        labels += [name for name in body["labels"] if name not in labels]
        if "addLabels" in self.server.lose_answers_of:
            self.server.lose_answers_of.discard("addLabels")
            self.close_connection = True
            return None
        return self._answer(200, [{"name": name} for name in labels])

    def do_DELETE(self) -> None:
        words = self.path.split("/")
        if not self._may():
            return None
        labels, name = self.server.pulls[int(words[5])]["labels"], unquote(words[7])
        if words[4] != "issues" or name not in labels:
            return self._answer(404, {"message": "Label does not exist"})
        labels.remove(name)
        return self._answer(200, [{"name": name} for name in labels])

    def _may(self) -> bool:
        given = self.headers.get("Authorization")
        if given is not None and given not in (f"token {TOKEN}", f"Bearer {TOKEN}"):
            self._answer(401, {"message": "Bad credentials"})
            return False
        if self.server.too_fast:
            told = {"message": "You have exceeded a secondary rate limit."}
            self._answer(403, told, {"Retry-After": "60"})
            return False
        if self.server.used >= self.server.limit:
            self._answer(403, {"message": "API rate limit exceeded"})
            return False
        return True

    def _page(self, items: list[Any], query: dict[str, str]) -> None:
        size, page = min(100, int(query.get("per_page", 30))), int(query.get("page", 1))
        more = {}
        if page * size < len(items):
            path = self.path.replace(f"&page={page}", "")
            more["Link"] = f'<{self.server.elsewhere or self.server.url}{path}&page={page + 1}>; rel="next"'
        self._answer(200, items[(page - 1) * size : page * size], more)

    def _answer(
        self, status: int, value: Any, headers: dict[str, str] | None = None, resource: str = "core"
    ) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        etag = f'"{sha256(body).hexdigest()}"'
        if self.command == "GET" and status == 200 and self.headers.get("If-None-Match") == etag:
            status, body = 304, b""
        elif resource == "core" and status == 200:
            self.server.used += 1
        self.server.requests.append((self.command, self.path, status))
        self.send_response(status)
        sent = {"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(body))}
        if self.command == "GET" and status in (200, 304):
            sent["ETag"] = etag
        sent |= {
            "X-RateLimit-Limit": str(self.server.limit),
            "X-RateLimit-Remaining": str(self.server.limit - self.server.used),
            "X-RateLimit-Reset": str(int(time.time()) + 3600), "X-RateLimit-Resource": resource,
        } | (headers or {})  # fmt: skip
        for name, text in sent.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _rest(pull: dict[str, Any]) -> dict[str, Any]:
    return {
        "number": pull["number"], "node_id": pull["id"], "title": pull["title"],
        "state": pull["state"].lower(),
        "draft": pull["isDraft"], "body": pull["body"], "html_url": pull["url"],
        "user": {"login": pull["author"]},
        "labels": [{"name": name} for name in pull["labels"]], "updated_at": pull["updatedAt"],
        "merged_at": None, "base": {"ref": pull["baseRefName"]},
        "head": {"ref": pull["headRefName"], "sha": pull["headRefOid"], "repo": {"full_name": "ada/shop"}},
    }  # fmt: skip


def _rest_full(pull: dict[str, Any]) -> dict[str, Any]:
    return _rest(pull) | {
        "mergeable": {"MERGEABLE": True, "CONFLICTING": False}.get(pull["mergeable"]),
        "mergeable_state": pull["mergeStateStatus"].lower(), "additions": pull["additions"],
        "deletions": pull["deletions"], "changed_files": pull["changedFiles"], "maintainer_can_modify": True,
    }  # fmt: skip
