"""The simulated services around Compute Engine: projects, APIs, billing, permissions, OS Login, userinfo.

Paths and bodies are Google's, behind the service's name as prefix (`/serviceusage/v1/projects/...`), so that
`CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE=http://127.0.0.1:PORT/serviceusage/` sends gcloud here, too.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from jobs.simulator.iam import ACT_AS, Iam, etag_of, require_etag
from jobs.simulator.os_login import OsLogin
from jobs.simulator.refusals import (
    RpcError,
    api_disabled,
    billing_missing,
    malformed,
    permission_denied,
    quota_project_missing,
)
from jobs.simulator.world import Json, World

NUMBER = "123456789012"
EMAIL = "maintainer@example.com"
TITLES: Mapping[str, str] = {
    "artifactregistry.googleapis.com": "Artifact Registry API",
    "cloudbilling.googleapis.com": "Cloud Billing API",
    "cloudbuild.googleapis.com": "Cloud Build API",
    "cloudresourcemanager.googleapis.com": "Cloud Resource Manager API",
    "compute.googleapis.com": "Compute Engine API",
    "iam.googleapis.com": "Identity and Access Management (IAM) API",
    "iap.googleapis.com": "Cloud Identity-Aware Proxy API",
    "oslogin.googleapis.com": "Cloud OS Login API",
    "serviceusage.googleapis.com": "Service Usage API",
}
BILLED = ("artifactregistry", "cloudbuild", "compute")  # these do not come on without billing
SERVICES = ("cloudbilling", "cloudresourcemanager", "iam", "openidconnect", "oslogin", "serviceusage")


def fresh() -> Json:
    """Return an account whose projects lack nothing.

    `bare`: the credentials are a user's, without a quota project. `off`: APIs that are off. `billing`: the
    linked account, empty for none; `closed`: it is. `lacks`: permissions that are missing. `projects`: id to
    state, empty for "each one is there". `lag`: how many requests are refused still after an API came on.
    `keys`, `users`: the OS Login profile. `accounts`, `unknown`: see `Iam`.
    """
    return {
        "email": EMAIL, "off": [], "billing": "billingAccounts/012345-567890-ABCDEF", "closed": False,
        "lacks": [], "projects": {}, "lag": 0, "keys": {}, "users": {}, "bindings": [], "enabling": {},
        "bare": False, "accounts": {}, "unknown": 0,
    }  # fmt: skip


class Around(OsLogin, Iam):
    """Answers for the services. Hold the world's lock."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def state(self) -> Json:
        """What is so: see `fresh`."""
        return self._world.account

    def require(self, service: str, project: str) -> None:
        """Raise what Google says when an API is off in the project, or its billing."""
        name = f"{service}.googleapis.com"
        if name in self.state["off"]:
            raise api_disabled(name, TITLES[name], NUMBER)
        if self.state["lag"] and service == "compute":
            self.state["lag"] -= 1
            raise api_disabled(name, TITLES[name], NUMBER)
        if service == "compute" and (not self.state["billing"] or self.state["closed"]):
            raise billing_missing(name, NUMBER)

    def exists(self, project: str) -> bool:
        """Return whether the project is there for this account."""
        return not self.state["projects"] or project in self.state["projects"]

    def answer(self, method: str, path: str, query: Mapping[str, list[str]], body: bytes) -> Json:
        """Return the answer for `serviceusage/v1/...`. Raises `RpcError`."""
        service, _, rest = path.partition("/")
        if service in ("cloudbilling", "oslogin") and self.state["bare"]:
            raise quota_project_missing(f"{service}.googleapis.com", TITLES[f"{service}.googleapis.com"])
        if service != "openidconnect":
            self.require(service, "")
        try:
            given: Json = json.loads(body or b"{}")
        except ValueError:
            raise malformed("Invalid JSON payload received.") from None
        for pattern, verb, handler in self._routes():
            found = re.fullmatch(pattern, rest)
            if found and method == verb:
                return handler(found.groups(), query, given)
        raise RpcError(404, "NOT_FOUND", "Method not found.")

    def _routes(self) -> list[tuple[str, str, Callable[..., Json]]]:
        project = "projects/([^/:]+)"
        account = f"v1/{project}/serviceAccounts/([^/:]+)"
        return [
            ("v1/userinfo", "GET", self._user),
            (f"v3/{project}", "GET", self._project),
            ("v3/projects:search", "GET", self._search),
            (f"v3/{project}:testIamPermissions", "POST", self._permissions),
            (f"v[13]/{project}:getIamPolicy", "POST", self._policy),
            (f"v[13]/{project}:setIamPolicy", "POST", self._set_policy),
            (f"v1/{project}", "GET", self._project_1),
            ("v1/projects", "GET", self._list_1),
            (f"v1/{project}/billingInfo", "GET", self._billing),
            (f"v1/{project}/services:batchGet", "GET", self._services),
            (f"v1/{project}/services:batchEnable", "POST", self._enable),
            (f"v1/{project}/services/([^/:]+):enable", "POST", self._enable_one),
            ("v1/(operations/.+)", "GET", self._operation),
            (f"v1/{project}/serviceAccounts", "POST", self._make_account),
            (account, "GET", self._get_account),
            (f"{account}:testIamPermissions", "POST", self._account_permissions),
            (f"{account}:getIamPolicy", "POST", self._account_policy),
            (f"{account}:setIamPolicy", "POST", self._set_account_policy),
            ("v1/users/([^/]+)/loginProfile", "GET", self._profile),
            ("v1/users/([^/:]+):importSshPublicKey", "POST", self._add_key),
            ("v1/users/([^/]+)/sshPublicKeys/([^/]+)", "PATCH", self._change_key),
        ]  # fmt: skip

    def _user(self, groups: tuple[str, ...], query: Any, body: Json) -> Json:
        return {"sub": "1", "email": self.state["email"], "email_verified": True}

    # Cloud Resource Manager

    def _seen(self, project: str, permission: str = "resourcemanager.projects.get") -> None:
        if not self.exists(project):
            raise permission_denied(permission, project)

    def _project(self, groups: tuple[str, ...], query: Any, body: Json) -> Json:
        self._seen(groups[0])
        state = self.state["projects"].get(groups[0], "ACTIVE")
        return {
            "name": f"projects/{NUMBER}",
            "projectId": groups[0],
            "state": state,
            "displayName": groups[0],
        }

    def _project_1(self, groups: tuple[str, ...], query: Any, body: Json) -> Json:
        if not self.exists(groups[0]):
            raise RpcError(403, "PERMISSION_DENIED", "The caller does not have permission")
        state = self.state["projects"].get(groups[0], "ACTIVE")
        return {
            "projectNumber": NUMBER,
            "projectId": groups[0],
            "lifecycleState": state,
            "name": groups[0],
        }

    def _list_1(self, groups: tuple[str, ...], query: Any, body: Json) -> Json:
        names = sorted(one for one, state in self.state["projects"].items() if state == "ACTIVE")
        return {"projects": [self._project_1((name,), query, body) for name in names]}

    def _search(self, groups: tuple[str, ...], query: Mapping[str, list[str]], body: Json) -> Json:
        names = sorted(one for one, state in self.state["projects"].items() if state == "ACTIVE")
        start = int((query.get("pageToken") or ["0"])[0])
        size = min(int((query.get("pageSize") or ["50"])[0]), 2)  # pages are short, whatever is asked for
        page: Json = {
            "projects": [self._project((name,), query, body) for name in names[start : start + size]]
        }
        if start + size < len(names):
            page["nextPageToken"] = str(start + size)
        return page

    def _permissions(self, groups: tuple[str, ...], query: Any, body: Json) -> Json:
        asked = body.get("permissions") or []
        if any(not re.fullmatch(r"[a-z]+\.\w+\.\w+", str(one)) for one in asked):
            raise malformed("Permission is not valid for this resource.")
        if not self.exists(groups[0]):
            return {}
        granted = [one for one in asked if one not in self.state["lacks"]]
        return {"permissions": granted} if granted else {}

    def _policy(self, groups: tuple[str, ...], query: Any, body: Json) -> Json:
        self._seen(groups[0], "resourcemanager.projects.getIamPolicy")
        if "resourcemanager.projects.getIamPolicy" in self.state["lacks"]:
            raise permission_denied("resourcemanager.projects.getIamPolicy", groups[0])
        bindings = self.state["bindings"]
        return {"version": 1, "etag": etag_of(bindings), "bindings": json.loads(json.dumps(bindings))}

    def _set_policy(self, groups: tuple[str, ...], query: Any, body: Json) -> Json:
        self._seen(groups[0], "resourcemanager.projects.setIamPolicy")
        if "resourcemanager.projects.setIamPolicy" in self.state["lacks"]:
            raise permission_denied("resourcemanager.projects.setIamPolicy", groups[0])
        policy = body.get("policy") or {}
        require_etag(policy, self.state["bindings"])
        self.require_members(policy.get("bindings") or [])
        self.state["bindings"] = policy.get("bindings") or []
        if any(f"user:{self.state['email']}" in one["members"] for one in self.state["bindings"]):
            # Who is given roles here lacks nothing any more; but none of those is over a service account.
            self.state["lacks"] = [one for one in self.state["lacks"] if one == ACT_AS]
        return dict(policy)

    # Cloud Billing

    def _billing(self, groups: tuple[str, ...], query: Any, body: Json) -> Json:
        if not self.exists(groups[0]):
            raise RpcError(403, "PERMISSION_DENIED", "The caller does not have permission")
        name = self.state["billing"]
        return {
            "name": f"projects/{groups[0]}/billingInfo",
            "projectId": groups[0],
            "billingAccountName": name,
            "billingEnabled": bool(name) and not self.state["closed"],
        }

    # Service Usage

    def _visible(self, project: str, verb: str) -> None:
        if not self.exists(project):
            raise RpcError(
                403, "PERMISSION_DENIED", f"Permission denied to {verb} service for [{project}]",
                "AUTH_PERMISSION_DENIED", "serviceusage.googleapis.com",
            )  # fmt: skip

    def _services(self, groups: tuple[str, ...], query: Mapping[str, list[str]], body: Json) -> Json:
        self._visible(groups[0], "get")
        names = [one.rpartition("/")[2] for one in query.get("names") or []]
        if len(names) > 30:
            raise malformed("At most 30 services can be read at once.")
        return {"services": [self._service(name) for name in names]}

    def _service(self, name: str) -> Json:
        return {
            "name": f"projects/{NUMBER}/services/{name}",
            "config": {"name": name, "title": TITLES.get(name, name)},
            "state": "DISABLED" if name in self.state["off"] else "ENABLED",
            "parent": f"projects/{NUMBER}",
        }

    def _enable(self, groups: tuple[str, ...], query: Any, body: Json) -> Json:
        self._visible(groups[0], "enable")
        names = [str(one) for one in body.get("serviceIds") or []]
        if not names or len(names) > 20:
            raise malformed("Between 1 and 20 services can be enabled at once.")
        off = [name for name in names if name in self.state["off"]]
        billed = [name for name in off if name.partition(".")[0] in BILLED]
        if billed and (not self.state["billing"] or self.state["closed"]):
            listed = ",".join(billed)
            raise RpcError(
                400, "FAILED_PRECONDITION",
                f"Billing account for project '{NUMBER}' is not found. Billing must be enabled for "
                f"activation of service(s) '{listed}' to proceed.\nHelp Token: AYJSivpT",
                "UREQ_PROJECT_BILLING_NOT_FOUND", "serviceusage.googleapis.com", {"services": listed},
            )  # fmt: skip
        if not off:
            return {"name": "operations/noop.DONE_OPERATION", "done": True, "response": {}}
        name = f"operations/acat.p2-{NUMBER}-{self._world.number()}"
        self.state["enabling"][name] = {"due": time.time() + self._world.seconds, "names": off}
        return {"name": name}

    def _enable_one(self, groups: tuple[str, ...], query: Any, body: Json) -> Json:
        return self._enable(groups, query, {"serviceIds": [groups[1]]})

    def _operation(self, groups: tuple[str, ...], query: Any, body: Json) -> Json:
        name = groups[0]
        if name.endswith("DONE_OPERATION"):
            return {"name": name, "done": True, "response": {}}
        work = self.state["enabling"].get(name)
        if work is None:
            raise RpcError(404, "NOT_FOUND", f"Operation not found: {name}")
        if work["due"] > time.time():
            return {"name": name}
        self.state["off"] = [one for one in self.state["off"] if one not in work["names"]]
        kind = "type.googleapis.com/google.api.serviceusage.v1.BatchEnableServicesResponse"
        services = [self._service(one) for one in work["names"]]
        return {"name": name, "done": True, "response": {"@type": kind, "services": services}}
