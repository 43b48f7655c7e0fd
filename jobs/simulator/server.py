"""The simulated Compute API over HTTP, on loopback."""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, parse_qsl, urlsplit

from jobs.providers.gce.compute import api, endpoints
from jobs.simulator import around, catalog, faults, instances, resources
from jobs.simulator.faults import Fault
from jobs.simulator.http import Cut, Handler, Page, Server
from jobs.simulator.machines import Machines
from jobs.simulator.reading import Reading
from jobs.simulator.world import ROOT, ApiError, Json, World, invalid, not_found

PREFIX = "/compute/v1/"
_SCOPED = re.compile(r"(zones/[^/]+|regions/[^/]+|global)/(\w+)(?:/([^/]+))?(?:/(\w+))?\Z")
WAIT_SECONDS = 120.0


class Simulator(Reading):
    """A Compute API on a loopback port. Use as a context manager, or `start` and `stop`.

    `state`: a file that outlives the process. `seconds`: how long operations take. `page_size`: the most
    that a list gives at once; `empty_pages` puts an empty one first. `projects`: those that exist (empty:
    all).
    `machines`: what stands behind the instances. `requests` are (method, path, requestId) as they came.
    """

    def __init__(
        self,
        *,
        state: Path | None = None,
        seconds: float = 0.0,
        machines: Machines | None = None,
        port: int = 0,
    ) -> None:
        super().__init__()
        self.world = World(state, seconds)
        self.world.account = {**around.fresh(), **self.world.account}
        self.around = around.Around(self.world)
        self.machines = machines
        self.world.effects = instances.effects(machines)
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, str]] = []
        self.projects: tuple[str, ...] = ()
        self._server = Server(("127.0.0.1", port), Handler)
        self._server.simulator = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def overrides(self) -> dict[str, str]:
        """The environment variables that send gcloud and us here, for every service."""
        moved = {endpoints.variable(one): f"{self.url}/{one}/" for one in around.SERVICES}
        return {api.ENDPOINT_VARIABLE: f"{self.url}{PREFIX}", **moved}

    def start(self) -> Self:
        """Begin to answer. Machines that ran when the last one ended run again."""
        instances.revive(self.world, self.machines)
        self._thread.start()
        return self

    def stop(self) -> None:
        """End at once, connections included. What stands behind the machines goes on."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def settle(self) -> None:
        """Let every accepted operation end now."""
        with self.world.lock:
            while self.world.pending:
                self.world.advance(all_of_it=True)
            self.world.keep()

    def fail(self, kind: str, match: str = "", times: int = 1) -> None:
        """Let the next requests go wrong: see `faults`."""
        self.faults.append(Fault(kind, match, times))

    def _instance(self, name: str) -> str:
        for path in self.world.resources:
            if path.endswith(f"/instances/{name}"):
                return path
        raise not_found(f"instances/{name}")

    def happen(self, what: str, name: str, warned: bool = False) -> None:
        """Let something befall a machine: `preempted`, `guestTerminate`, `hostError`.

        At once, or `warned`: it is `STOPPING` for as long as operations take. Raises `ApiError` when there is
        no such machine, or it does not run.
        """
        with self.world.lock:
            path = self._instance(name)
            if self.world.find(path)["status"] != "RUNNING":
                raise ApiError(400, "resourceNotReady", f"The resource '{path}' is not ready")
            if warned:
                self.world.find(path)["status"] = "STOPPING"
                self.world.operation(f"compute.instances.{what}", path, "halt")
            else:
                self.world.happen(f"compute.instances.{what}", path, "halt")
            self.world.keep()

    def publish(self, name: str, namespace: str, values: dict[str, str], console: str = "") -> None:
        """Publish guest attributes of a machine, and write to its console, as its guest would."""
        with self.world.lock:
            path = self._instance(name)
            self.world.guests.setdefault(path, {}).setdefault(namespace, {}).update(values)
            self.world.consoles[path] = self.world.consoles.get(path, "") + console
            self.world.keep()

    def refusal(self, error: ApiError) -> Json | None:
        """Return the body that tells of an error, as Google writes it."""
        return error.body()

    def answer(self, method: str, target: str, body: bytes) -> Json:
        """Return the answer to a request. Raises `ApiError`, `Page`, and `Cut` to end the connection."""
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if parts.path.startswith("/simulator/"):
            return self._control(parts.path.removeprefix("/simulator/"), body)
        path = re.sub("^/+", "/", parts.path).removeprefix(PREFIX)
        with self.world.lock:
            self.requests.append((method, path, query.get("requestId", "")))
            fault = faults.take(self.faults, f"{method} {path}")
            if fault in faults.KINDS:
                status, reason, message = faults.KINDS[fault]
                project = [*path.split("/"), ""][1]
                raise ApiError(status, reason, message.format(path=path, project=project))
            if fault in faults.FORMS:
                raise ApiError(403, "", "", dict(faults.FORMS[fault]))
            if fault == "lost-request":
                raise Cut
            self.world.advance()
            try:
                if path.lstrip("/").partition("/")[0] in around.SERVICES:
                    many = parse_qs(parts.query, keep_blank_values=True)
                    found = self.around.answer(method, path.lstrip("/"), many, body)
                else:
                    if fault == "twice":
                        self._route(method, path, query, body, fault)
                    found = self._route(method, path, query, body, fault)
            finally:
                self.world.keep()
            if fault == "lost-operation" and found.get("kind") == "compute#operation":
                self.world.operations.pop(found["selfLink"].removeprefix(ROOT), None)
            if fault == "page":
                raise Page
            if fault == "lost-answer":
                raise Cut
            answer: Json = json.loads(json.dumps(found))
        if path.endswith("/wait") and method == "POST":
            return self._wait(path.removesuffix("/wait"))
        return answer

    def _wait(self, path: str) -> Json:
        """Return an operation when it is done, or after two minutes as it is then."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            with self.world.lock:
                self.world.advance()
                found = self.world.operations.get(path)
                if found is None:
                    raise not_found(path)
                if found["status"] == "DONE" or time.monotonic() > deadline:
                    return dict(found)
            time.sleep(0.02)

    def _route(self, method: str, path: str, query: dict[str, str], body: bytes, fault: str) -> Json:
        found = re.fullmatch(r"projects/([^/]+)(?:/(.*))?", path)
        if found is None:
            raise not_found(path)
        project, rest = found[1], found[2] or ""
        known = self.around.exists(project) if not self.projects else project in self.projects
        if not known and project != "cos-cloud":
            raise not_found(f"projects/{project}")
        self.around.require("compute", project)
        default = f"projects/{project}/global/networks/default"
        if default not in self.world.resources:
            self.world.add("network", default, {"name": "default", "autoCreateSubnetworks": True})
        if method == "GET":
            fixed = resources.read_only(self.world, project, rest)
            if fixed is not None:
                return self.page(fixed["items"], query) if set(fixed) == {"items"} else fixed
        if rest.startswith("aggregated/"):
            return self.aggregated(project, rest.partition("/")[2], query)
        scoped = _SCOPED.match(rest)
        if scoped is None:
            raise not_found(path)
        scope, collection, name, verb = scoped.groups()
        self._require_place(f"projects/{project}", scope)
        full = f"projects/{project}/{scope}"
        if method == "GET":
            return self.read(full, collection, name, verb, query)
        return self._change(method, full, collection, name, verb, query, body, fault)

    def _require_place(self, root: str, scope: str) -> None:
        kind, _, name = scope.partition("/")
        known: Any = {"zones": catalog.ALL_ZONES, "regions": catalog.ZONES, "global": ("",)}[kind]
        if name not in known:
            raise invalid(kind.rstrip("s"), name, f"Unknown {kind.rstrip('s')}.")

    def _change(
        self,
        method: str,
        scope: str,
        collection: str,
        name: str | None,
        verb: str | None,
        query: dict[str, str],
        raw: bytes,
        fault: str,
    ) -> Json:
        if collection == "operations" and verb == "wait":
            return {}
        if collection not in resources.KINDS:
            raise not_found(f"{scope}/{collection}")
        body = self._body(collection, name, verb, raw)
        asked = query.get("requestId", "")
        if asked:
            try:
                uuid.UUID(asked)
            except ValueError:
                raise invalid("requestId", asked, "Must be a UUID.") from None
            known = self.world.requests.get(asked)
            if known:
                return self.world.operations.get(known) or {"kind": "compute#operation", "status": "DONE"}
        path = f"{scope}/{collection}/{name}"
        exhausted = fault == "capacity"
        if method == "POST" and name is None:
            if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", str(body.get("name", ""))):
                raise invalid("resource.name", body.get("name", ""), "Must be a match of regex.")
            if collection == "instances":
                found = instances.insert(self.world, scope, body, exhausted=exhausted)
            else:
                found = resources.insert(self.world, scope, collection, body)
        elif method == "DELETE":
            deleting = instances.delete if collection == "instances" else resources.delete
            found = deleting(self.world, path)
        elif method == "PATCH":
            self.world.find(path).update(body)
            found = self.world.operation("patch", path)
        elif collection == "instances":
            found = instances.act(self.world, path, verb or "", body, exhausted=exhausted)
        else:
            found = resources.act(self.world, path, verb or "", body)
        if asked:
            self.world.requests[asked] = found["selfLink"].removeprefix(ROOT)
        return found

    def _body(self, collection: str, name: str | None, verb: str | None, raw: bytes) -> Json:
        kind = resources.VERBS.get((collection, verb or ""), "" if verb else resources.KINDS[collection][1])
        if not raw.strip() or raw.strip() == b"{}":
            return {}
        wrong = api.check_body(kind, raw) if kind else "this request takes no body"
        if wrong:
            raise ApiError(400, "invalid", f"Invalid JSON payload received. {wrong}")
        found: Json = json.loads(raw)
        return found

    def _control(self, verb: str, body: bytes) -> Json:
        """Steer the simulator from another process: `fail`, `happen`, `publish`, `settle`, `set`; `hello`."""
        if verb == "hello":
            return {"simulator": True}
        values: Json = json.loads(body or b"{}")
        if verb == "set":
            with self.world.lock:
                for name in ("seconds", "exhausted", "limits"):
                    if name in values:
                        setattr(self.world, name, values[name])
                self.world.account.update(values.get("account") or {})
                self.world.keep()
            return {}
        if verb not in ("fail", "happen", "publish", "settle"):
            raise not_found(verb)
        getattr(self, verb)(**values)
        return {}
