"""A strict GitLab on loopback: the part of REST v4 that the client uses, for one public project, acme/shop.

It refuses parameters that it does not know, pages, answers 304 to a known ETag, counts requests against a
limit, tells approvals and reviewers to members only, and can lie about mergeability for a while.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "glpat-a-token-that-only-the-fake-knows"
SHA = "1" * 40
BASE = "2" * 40
PATCH = "@@ -1,2 +1,3 @@\n one\n+two\n three"
PROJECT_ID = 7
ME = {"id": 5, "username": "ada"}
POSITION = {
    "base_sha", "start_sha", "head_sha", "old_path", "new_path", "position_type", "new_line", "old_line",
}  # fmt: skip
PAGES = {"per_page", "page"}
STATES = ("pending", "running", "success", "failed", "canceled", "skipped")
LISTED = PAGES | {"state", "order_by", "sort", "source_branch"}


class GitLab(ThreadingHTTPServer):
    """Change `merges`, `project`, `traces` and the faults from a test."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.merges: dict[int, dict[str, Any]] = {}
        self.issues: dict[int, dict[str, Any]] = {}  # GitLab's keys, and `_notes`
        self.traces: dict[int, bytes] = {}
        self.project = {
            "id": PROJECT_ID, "path_with_namespace": "acme/shop", "merge_method": "merge",
            "web_url": "https://gitlab.test/acme/shop",
            "only_allow_merge_if_pipeline_succeeds": True,
            "only_allow_merge_if_all_discussions_are_resolved": True,
        }  # fmt: skip
        self.commits: set[str] = set()  # other than the heads
        self.branches: dict[str, str] = {}  # which count before commits whose id begins so
        self.requests: list[tuple[str, str, int]] = []
        self.limit = 5000
        self.used = 0
        self.unknown_mergeability = 0  # so many answers say `checking`
        self.garbage = False  # every answer is a page of a proxy
        self.too_fast = False  # every answer is that requests come too fast
        self.posts: list[tuple[str, str, dict[str, Any]]] = []  # method, path, body of each change
        self.lose_answers_of: set[str] = set()  # last words of paths that are carried out without an answer
        self.refuses_approval = False
        self.elsewhere = ""  # the origin of further pages, when it is not this one

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api/v4"

    def add(self, number: int, **values: Any) -> dict[str, Any]:
        """Add an open merge request. Keys are GitLab's, and those of its parts, which start with `_`."""
        merge = {
            "id": 9000 + number, "iid": number, "title": f"Change {number}", "state": "opened",
            "web_url": f"https://gitlab.test/acme/shop/-/merge_requests/{number}", "draft": False,
            "author": {"username": "ada"}, "updated_at": "2026-11-27T10:00:00.000Z", "sha": SHA,
            "target_branch": "main", "source_branch": f"topic-{number}", "labels": ["bug"],
            "references": {"full": f"acme/shop!{number}"},
            "source_project_id": PROJECT_ID, "target_project_id": PROJECT_ID, "has_conflicts": False,
            "detailed_merge_status": "mergeable", "allow_collaboration": True,
            "diff_refs": {"base_sha": BASE, "head_sha": SHA, "start_sha": BASE},
            "_discussions": [], "_issues": [7], "_approvals": {}, "_reviewers": [], "_jobs": [],
            "_statuses": [], "_notes": [], "_files": {"app.txt": PATCH},
        } | values  # fmt: skip
        self.merges[number] = merge
        return merge


@contextmanager
def gitlab() -> Iterator[GitLab]:
    """Serve an empty project."""
    with GitLab() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    server: GitLab
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        if self.server.garbage:
            return self._answer(200, b"<html>Sign in to the network</html>")
        given = self.headers.get("Authorization")
        if given not in (None, f"Bearer {TOKEN}"):
            return self._answer(401, {"message": "401 Unauthorized"})
        if self.server.too_fast or self.server.used >= self.server.limit:
            return self._answer(429, b"Retry later", {"Retry-After": "60"})
        if parts.path == "/api/v4/user":
            return self._answer(200, ME) if given else self._answer(401, {"message": "401 Unauthorized"})
        # The path of a project is one word: its slash is escaped.
        head, _, rest = parts.path.removeprefix("/api/v4/projects/").partition("/")
        if not parts.path.startswith("/api/v4/projects/") or head not in ("acme%2Fshop", str(PROJECT_ID)):
            return self._answer(404, {"message": "404 Project Not Found"})
        found = self._find(rest.split("/") if rest else [], given is not None, query)
        if found is None:
            return self._answer(404, {"message": "404 Not found"})
        data, allowed = found
        if not set(query) <= allowed:
            return self._answer(400, {"error": f"{sorted(set(query) - allowed)} is invalid"})
        return self._page(data, query) if isinstance(data, list) else self._answer(200, data)

    def _find(self, words: list[str], member: bool, query: dict[str, str]) -> tuple[Any, set[str]] | None:
        """Return what a path of the project names, and the parameters that it takes."""
        server = self.server
        if words[:1] == ["merge_requests"] and len(words) > 1:
            merge = server.merges.get(int(words[1]))
            return self._of_merge(merge, words[2:], member) if merge else None
        match words:
            case []:
                return server.project, set()
            case ["merge_requests"]:
                found = [m for m in server.merges.values() if query["state"] in ("all", m["state"])]
                if name := query.get("source_branch"):
                    found = [merge for merge in found if merge["source_branch"] == name]
                return [_shown(merge) for merge in found], LISTED
            case ["issues", number] if int(number) in server.issues:
                return _shown(server.issues[int(number)]), set()
            case ["issues", number, "notes"] if int(number) in server.issues:
                return server.issues[int(number)]["_notes"], PAGES | {"order_by", "sort"}
            case ["pipelines", number, "jobs"]:
                return server.merges[int(number)]["_jobs"], PAGES
            case ["repository", "commits", name]:
                known = {merge["sha"] for merge in server.merges.values()} | server.commits
                shas = [server.branches.get(name), *(sha for sha in known if sha.startswith(name))]
                ids = [sha for sha in shas if sha]
                return ({"id": ids[0], "short_id": ids[0][:8]}, {"stats"}) if ids else None
            case ["repository", "commits", _, "statuses"]:
                return [one for m in server.merges.values() for one in m["_statuses"]], PAGES | {"name"}
            case ["jobs", number, "trace"] if int(number) in server.traces and member:
                return server.traces[int(number)], set()
        return None

    def _of_merge(self, merge: dict[str, Any], words: list[str], member: bool) -> tuple[Any, set[str]] | None:
        match words:
            case []:
                shown = _shown(merge)
                if self.server.unknown_mergeability:
                    self.server.unknown_mergeability -= 1
                    shown["detailed_merge_status"] = "checking"
                pipeline = {
                    "id": merge["iid"], "sha": merge["sha"], "ref": "topic", "project_id": PROJECT_ID
                }  # fmt: skip
                return {"head_pipeline": pipeline if merge["_jobs"] else None} | shown, set()
            case ["discussions"]:
                return merge["_discussions"], PAGES
            case ["discussions", name]:
                found = [one for one in merge["_discussions"] if one["id"] == name]
                return (found[0], set()) if found else None
            case ["notes"]:
                threads = [note for one in merge["_discussions"] for note in one["notes"]]
                return [*merge["_notes"], *threads], PAGES | {"order_by", "sort"}
            case ["closes_issues"]:
                return [{"iid": number} for number in merge["_issues"]], PAGES
            case ["diffs"]:
                return [
                    {"old_path": path, "new_path": path, "diff": diff}
                    for path, diff in merge["_files"].items()
                ], PAGES
            case ["approvals"] if member:
                return {"approvals_required": 0, "approvals_left": 0, "approved_by": []} | merge[
                    "_approvals"
                ], set()
            case ["reviewers"] if member:
                return merge["_reviewers"], PAGES
        return None

    def do_POST(self) -> None:
        self._change()

    def do_PUT(self) -> None:
        self._change()

    def _change(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401, {"message": "401 Unauthorized"})
        head, _, rest = self.path.removeprefix("/api/v4/projects/").partition("/")
        if head != "acme%2Fshop":
            return self._answer(404, {"message": "404 Project Not Found"})
        words = rest.split("/")
        status, answer = self._carry_out(words, body)
        if status < 300:
            self.server.posts.append((self.command, rest, body))
            if words[-1] in self.server.lose_answers_of:
                self.server.lose_answers_of.discard(words[-1])
                self.close_connection = True
                return None
        return self._answer(status, answer)

    def _carry_out(self, words: list[str], body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if words[0] == "statuses":
            if set(body) - {"state", "name", "description"} or body["state"] not in STATES:
                return 400, {"error": "state does not have a valid value"}
            statuses = next(iter(self.server.merges.values()))["_statuses"]
            statuses.append({"id": len(statuses) + 1, "status": body["state"], **body})
            return 201, statuses[-1]
        if words == ["merge_requests"]:
            if set(body) != {"source_branch", "target_branch", "title", "description"}:
                return 400, {"error": "title is missing"}
            if any(m["source_branch"] == body["source_branch"] for m in self.server.merges.values()):
                return 409, {"message": ["Another open merge request already exists for this source branch"]}
            return 201, _shown(self.server.add(max([0, *self.server.merges]) + 1, **body))
        merge = self.server.merges[int(words[1])]
        note = {
            "id": 100 + len(self.server.posts), "author": ME, "body": body.get("body"), "resolvable": True,
            "resolved": False, "created_at": "2026-11-28T10:00:00.000Z",
        }  # fmt: skip
        match [self.command, *words[2:]]:
            case ["POST", "discussions"]:
                place = body["position"]
                lines = place["position_type"] == "text"
                if (
                    set(place) - POSITION
                    or place["head_sha"] != merge["sha"]
                    or lines != ("new_line" in place)
                ):
                    return 400, {"message": '400 Bad request - Note {:line_code=>["can\'t be blank"]}'}
                # A line that is in both files needs both numbers.
                if lines and place["new_line"] in (1, 3) and "old_line" not in place:
                    return 400, {"message": '400 Bad request - Note {:line_code=>["can\'t be blank"]}'}
                made = {"id": f"D{note['id']}", "notes": [note | {"position": place}]}
                merge["_discussions"].append(made)
                return 201, made
            case ["POST", "notes"]:
                merge["_notes"].insert(0, note | {"resolvable": False})
                return 201, note
            case ["POST", "approve"]:
                if self.server.refuses_approval or body["sha"] != merge["sha"]:
                    return 401, {"message": "401 Unauthorized"}
                merge["_approvals"] = {"approved_by": [{"user": ME}]}
                return 201, {}
            case ["POST", "discussions", name, "notes"]:
                next(one for one in merge["_discussions"] if one["id"] == name)["notes"].append(note)
                return 201, note
            case ["PUT", "discussions", name]:
                found = next(one for one in merge["_discussions"] if one["id"] == name)
                for one in found["notes"]:
                    one["resolved"] = body["resolved"]
                return 200, found
            case ["PUT"]:
                given, taken = (body.get(key, "").split(",") for key in ("add_labels", "remove_labels"))
                labels = [name for name in merge["labels"] if name not in taken]
                merge["labels"] = labels + [name for name in given if name and name not in labels]
                return 200, _shown(merge)
        return 404, {"message": "404 Not found"}

    def _page(self, items: list[Any], query: dict[str, str]) -> None:
        size, page = min(100, int(query.get("per_page", 20))), int(query.get("page", 1))
        more = {}
        if page * size < len(items):
            origin = self.server.elsewhere or f"http://127.0.0.1:{self.server.server_port}"
            path = self.path.replace(f"&page={page}", "")
            more["Link"] = f'<{origin}{path}&page={page + 1}>; rel="next"'
        self._answer(200, items[(page - 1) * size : page * size], more)

    def _answer(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        etag = f'W/"{sha256(body).hexdigest()[:32]}"'
        self.server.used += status == 200
        if status == 200 and self.headers.get("If-None-Match") == etag:
            status, body = 304, b""
        self.server.requests.append((self.command, self.path, status))
        self.send_response(status)
        sent = {
            "Content-Type": "application/json", "Content-Length": str(len(body)),
            "RateLimit-Limit": str(self.server.limit),
            "RateLimit-Remaining": str(max(0, self.server.limit - self.server.used)),
            "RateLimit-Reset": str(int(time.time()) + 60),
        } | ({"ETag": etag} if status in (200, 304) else {}) | (headers or {})  # fmt: skip
        for name, text in sent.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _shown(merge: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in merge.items() if not key.startswith("_")}
