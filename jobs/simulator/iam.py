"""The simulated IAM: service accounts and who may use them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any
from urllib.parse import unquote

from jobs.simulator.refusals import RpcError, malformed
from jobs.simulator.world import Json, World

ACT_AS = "iam.serviceAccounts.actAs"


def etag_of(bindings: list[Json]) -> str:
    """Return the mark of a policy as it is."""
    text = json.dumps(bindings, sort_keys=True).encode()
    return base64.b64encode(hashlib.sha256(text).digest()[:8]).decode()


def require_etag(policy: Json, bindings: list[Json]) -> None:
    """Raise what Google says when a policy was changed since it was read."""
    if policy.get("etag") != etag_of(bindings):
        raise RpcError(
            409, "ABORTED",
            "There were concurrent policy changes. Please retry the whole read-modify-write with "
            "exponential backoff.",
        )  # fmt: skip


class Iam:
    """Answers for `projects/P/serviceAccounts/...`.

    `accounts`: email to {`disabled`, `bindings`}; `unknown`: how many policies are refused still because a
    new account is not known everywhere.
    """

    _world: World

    @property
    def state(self) -> Json:
        """What is so: `accounts`, `unknown`, `lacks`, `email`."""
        raise NotImplementedError

    def _account(self, email: str, permission: str) -> Json:
        if permission in self.state["lacks"]:
            raise RpcError(
                403, "PERMISSION_DENIED",
                f"Permission '{permission}' denied on resource (or it may not exist).",
                "IAM_PERMISSION_DENIED", "iam.googleapis.com", {"permission": permission},
            )  # fmt: skip
        found: Json | None = self.state["accounts"].get(unquote(email))
        if found is None:
            raise RpcError(404, "NOT_FOUND", "Unknown service account")
        return found

    def _described(self, project: str, email: str) -> Json:
        one = self._account(email, "iam.serviceAccounts.get")
        email = unquote(email)
        return {
            "name": f"projects/{project}/serviceAccounts/{email}", "projectId": project, "email": email,
            "uniqueId": "100000000000000000001", "oauth2ClientId": "100000000000000000001",
            "etag": "MDEwMjE5MjA=",
            **({"disabled": True} if one.get("disabled") else {}),
        }  # fmt: skip

    def _get_account(self, groups: tuple[str, ...], query: Any, body: Json) -> Json:
        return self._described(groups[0], groups[1])

    def _make_account(self, groups: tuple[str, ...], query: Any, body: Json) -> Json:
        name = str(body.get("accountId", ""))
        if not re.fullmatch(r"[a-z](?=.{5,29}$)[-a-z0-9]*[a-z0-9]", name) or set(body) - {
            "accountId",
            "serviceAccount",
        }:
            raise malformed("Invalid service account.")
        if "iam.serviceAccounts.create" in self.state["lacks"]:
            raise RpcError(
                403, "PERMISSION_DENIED",
                "Permission 'iam.serviceAccounts.create' denied on resource (or it may not exist).",
                "IAM_PERMISSION_DENIED", "iam.googleapis.com", {"permission": "iam.serviceAccounts.create"},
            )  # fmt: skip
        email = f"{name}@{groups[0]}.iam.gserviceaccount.com"
        if email in self.state["accounts"]:
            raise RpcError(
                409, "ALREADY_EXISTS",
                f"Service account {name} already exists within project projects/{groups[0]}.",
            )  # fmt: skip
        self.state["accounts"][email] = {"bindings": []}
        return self._described(groups[0], email)

    def _account_permissions(self, groups: tuple[str, ...], query: Any, body: Json) -> Json:
        one = self._account(groups[1], "")
        me = f"user:{self.state['email']}"
        used = any(me in binding["members"] for binding in one.get("bindings") or ())
        allowed = [
            p for p in body.get("permissions") or () if p not in self.state["lacks"] or (used and p == ACT_AS)
        ]
        return {"permissions": allowed} if allowed else {}

    def _account_policy(self, groups: tuple[str, ...], query: Any, body: Json) -> Json:
        if body:
            raise malformed('Invalid JSON payload received. Unknown name "options": Cannot find field.')
        bindings = self._account(groups[1], "iam.serviceAccounts.getIamPolicy").get("bindings") or []
        found: Json = {"version": 1, "etag": etag_of(bindings)}
        return {**found, "bindings": json.loads(json.dumps(bindings))} if bindings else found

    def _set_account_policy(self, groups: tuple[str, ...], query: Any, body: Json) -> Json:
        one, policy = self._account(groups[1], "iam.serviceAccounts.setIamPolicy"), body.get("policy") or {}
        require_etag(policy, one.get("bindings") or [])
        one["bindings"] = policy.get("bindings") or []
        return dict(policy)

    def require_members(self, bindings: list[Json]) -> None:
        """Raise what Google says of members of a policy that there are not, or not everywhere yet."""
        for member in {one for binding in bindings for one in binding.get("members") or ()}:
            kind, _, email = member.partition(":")
            if kind != "serviceAccount" or not email.endswith(".iam.gserviceaccount.com"):
                continue
            if email not in self.state["accounts"] or self.state["unknown"]:
                self.state["unknown"] = max(0, self.state["unknown"] - 1)
                raise malformed(f"Service account {email} does not exist.")
