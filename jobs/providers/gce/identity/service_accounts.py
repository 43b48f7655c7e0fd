"""The identities of machines, as IAM knows them; and adding to a policy without losing what others add."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from jobs.providers.gce.compute import errors
from jobs.providers.gce.compute.rest import Json, Rest

ACCOUNT_ID = "offload-worker"
ACT_AS = "iam.serviceAccounts.actAs"
USER_ROLE = "roles/iam.serviceAccountUser"
READER_ROLE = "roles/artifactregistry.reader"
POLICY_VERSION = 3
RACES = 5  # changes of the policy by other requests in a row before we give up
PAUSE = 0.2
# Roles that let an account read images; what a custom role allows is not known here.
_READS = re.compile(r"roles/(artifactregistry\..*|viewer|editor|owner)|(?!roles/).*")
_REGISTRY = re.compile(r"[a-z0-9-]+-docker\.pkg\.dev/([^/]+)/[^/]+/")


def email_of(project: str) -> str:
    """Return the service account that Offload makes in a project."""
    # A project of an organisation's domain: example.com:p -> p.example.com
    domain, _, name = project.rpartition(":")
    return f"{ACCOUNT_ID}@{f'{name}.{domain}' if domain else name}.iam.gserviceaccount.com"


def registry_project(image: str) -> str:
    """Return the project whose Artifact Registry an image is in; empty: it is elsewhere."""
    found = _REGISTRY.match(image)
    return found[1] if found else ""


def may_read_images(policy: Json, member: str) -> bool:
    """Tell whether a project's policy lets a member read its images, as far as the policy's roles say so."""
    return any(
        member in (one.get("members") or ()) and _READS.fullmatch(str(one.get("role")))
        for one in policy.get("bindings") or ()
    )


class ServiceAccounts:
    """What may be asked and changed about service accounts of `project`."""

    project: str
    _rest: Rest

    def _path(self, email: str) -> str:
        found = re.search(r"@([a-z0-9-]+)\.iam\.gserviceaccount\.com$", email)
        return f"v1/projects/{quote(found[1] if found else self.project)}/serviceAccounts/{quote(email)}"

    async def service_account(self, email: str) -> Json:
        """Return a service account (`email`, `disabled`). Raises `NotFound`, `Forbidden`."""
        return await self._rest.call(
            "iam", "GET", self._path(email), f"Looking for the service account {email}"
        )

    async def make_service_account(self) -> None:
        """Make `email_of(project)`, which may do nothing yet; one that is there is success."""
        doing = f"Making the service account {email_of(self.project)}"
        about = {"displayName": "Offload's workers", "description": "The identity of Offload's machines."}
        body = {"accountId": ACCOUNT_ID, "serviceAccount": about}
        path = f"v1/projects/{quote(self.project)}/serviceAccounts"
        try:
            await self._rest.call("iam", "POST", path, doing, body)
        except errors.AlreadyThere:
            pass

    async def may_act_as(self, email: str) -> bool:
        """Return whether the caller may give machines this identity."""
        found = await self._rest.call(
            "iam",
            "POST",
            f"{self._path(email)}:testIamPermissions",
            f"Asking whether you may use the service account {email}",
            {"permissions": [ACT_AS]},
        )
        return ACT_AS in (found.get("permissions") or ())

    async def let_act_as(self, email: str, member: str) -> None:
        """Let a member (`user:me@example.com`) give machines this identity."""
        doing = f"Letting {member} use the service account {email}"
        query = {"options.requestedPolicyVersion": POLICY_VERSION}
        await self._bind("iam", self._path(email), doing, member, [USER_ROLE], query=query)

    async def _bind(
        self,
        service: str,
        path: str,
        doing: str,
        member: str,
        roles: Sequence[str],
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a member to roles in the policy at `path`. Bindings of others, and conditions, stay.

        `body`, `query`: how this service is asked for a policy of version 3.
        """
        for left in range(RACES - 1, -1, -1):
            policy = await self._rest.call(service, "POST", f"{path}:getIamPolicy", doing, body or {}, query)
            bindings: list[Json] = policy.setdefault("bindings", [])
            for role in roles:
                plain = [one for one in bindings if one.get("role") == role and not one.get("condition")]
                if not plain:
                    bindings.append({"role": role, "members": [member]})
                elif member not in plain[0].setdefault("members", []):
                    plain[0]["members"].append(member)
            policy["version"] = POLICY_VERSION
            try:
                # The etag in it makes Google refuse when another request changed the policy in between.
                await self._rest.call(service, "POST", f"{path}:setIamPolicy", doing, {"policy": policy})
                return
            except errors.AlreadyThere:
                if not left:
                    raise
            await asyncio.sleep(PAUSE)
