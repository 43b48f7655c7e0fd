"""A project and an account, as the services around Compute Engine know them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from jobs.errors import OffloadError, TimedOut
from jobs.providers.gce.compute.rest import Json, Rest
from jobs.providers.gce.identity.service_accounts import POLICY_VERSION, ServiceAccounts

ENABLE_SECONDS = 300.0
POLL_SECONDS = 1.0
PAGE = 500
_VERSION = {"options": {"requestedPolicyVersion": POLICY_VERSION}}


class Account(ServiceAccounts):
    """What may be asked and changed around one project."""

    def __init__(self, project: str) -> None:
        self.project = project
        self._rest = Rest(project)

    def close(self) -> None:
        """End the connections."""
        self._rest.close()

    async def email(self) -> str:
        """Return whose credentials these are."""
        found = await self._rest.call(
            "openidconnect", "GET", "v1/userinfo", "Asking whose credentials these are"
        )
        return str(found.get("email") or "")

    async def projects(self) -> Sequence[Json]:
        """Return the active projects that the account can see, over all pages."""
        found: list[Json] = []
        token = ""
        while True:
            query = {"query": "state:ACTIVE", "pageSize": PAGE, **({"pageToken": token} if token else {})}
            page = await self._rest.call(
                "cloudresourcemanager", "GET", "v3/projects:search", "Listing your projects", None, query
            )
            found += page.get("projects") or []
            token = str(page.get("nextPageToken") or "")
            if not token:
                return found

    async def describe(self) -> Json:
        """Return the project (`projectId`, `state`, `name`: projects/NUMBER)."""
        return await self._rest.call(
            "cloudresourcemanager",
            "GET",
            f"v3/projects/{quote(self.project)}",
            f"Reading the project {self.project}",
        )

    async def billing(self) -> Json:
        """Return `billingEnabled` and `billingAccountName`."""
        path = f"v1/projects/{quote(self.project)}/billingInfo"
        return await self._rest.call("cloudbilling", "GET", path, f"Reading who pays for {self.project}")

    async def services(self, names: Iterable[str]) -> Mapping[str, bool]:
        """Return which APIs are on."""
        root = f"projects/{self.project}/services"
        found = await self._rest.call(
            "serviceusage",
            "GET",
            f"v1/projects/{quote(self.project)}/services:batchGet",
            f"Reading the APIs of {self.project}",
            None,
            {"names": [f"{root}/{name}" for name in names]},
        )
        return {
            str(one["config"]["name"]): one.get("state") == "ENABLED"
            for one in found.get("services") or ()
            if (one.get("config") or {}).get("name")
        }

    async def enable(self, names: Sequence[str]) -> None:
        """Turn APIs on and wait until that is done. Raises `TimedOut`, and what Google says against it."""
        doing = f"Turning on {', '.join(names)}"
        path = f"v1/projects/{quote(self.project)}/services:batchEnable"
        operation = await self._rest.call("serviceusage", "POST", path, doing, {"serviceIds": list(names)})
        end = time.monotonic() + ENABLE_SECONDS
        while not operation.get("done"):
            if time.monotonic() > end:
                raise TimedOut(
                    f"{doing} has not ended after {ENABLE_SECONDS:g} s.",
                    hint="Run the same command again; what is on by then stays on.",
                )
            await asyncio.sleep(POLL_SECONDS)
            operation = await self._rest.call("serviceusage", "GET", f"v1/{operation['name']}", doing)
        if operation.get("error"):
            status = _status(operation["error"])
            raise self._rest.refusal("serviceusage", doing, status, operation)[1]

    async def permissions(self, wanted: Iterable[str]) -> frozenset[str]:
        """Return those of the permissions that the account has on the project."""
        found = await self._rest.call(
            "cloudresourcemanager",
            "POST",
            f"v3/projects/{quote(self.project)}:testIamPermissions",
            f"Asking what you may do in {self.project}",
            {"permissions": sorted(wanted)},
        )
        return frozenset(found.get("permissions") or ())

    async def grant(self, member: str, roles: Sequence[str]) -> None:
        """Give roles to a member (`user:me@example.com`). Bindings of others, and conditions, stay."""
        doing = f"Giving {', '.join(roles)} to {member}"
        path = f"v3/projects/{quote(self.project)}"
        await self._bind("cloudresourcemanager", path, doing, member, roles, _VERSION)

    async def policy(self) -> Json:
        """Return who has which role in the project: `bindings`. Raises `Forbidden`."""
        path = f"v3/projects/{quote(self.project)}:getIamPolicy"
        doing = f"Reading who may do what in {self.project}"
        return await self._rest.call("cloudresourcemanager", "POST", path, doing, _VERSION)

    async def login_profile(self, email: str) -> Json:
        """Return the account's OS Login profile: `posixAccounts`, `sshPublicKeys`."""
        path = f"v1/users/{quote(email)}/loginProfile"
        return await self._rest.call(
            "oslogin",
            "GET",
            path,
            f"Reading the OS Login profile of {email}",
            None,
            {"projectId": self.project},
        )

    async def add_key(self, email: str, public_key: str) -> Json:
        """Add a public key to the account's OS Login profile, and return the profile."""
        found = await self._rest.call(
            "oslogin",
            "POST",
            f"v1/users/{quote(email)}:importSshPublicKey",
            f"Adding the ssh key to the OS Login profile of {email}",
            {"key": public_key},
            {"projectId": self.project},
        )
        profile: Json = found.get("loginProfile") or {}
        return profile

    async def renew_key(self, email: str, fingerprint: str) -> None:
        """Let a public key in the account's OS Login profile never end."""
        await self._rest.call(
            "oslogin",
            "PATCH",
            f"v1/users/{quote(email)}/sshPublicKeys/{fingerprint}",
            f"Renewing the ssh key in the OS Login profile of {email}",
            {},
            {"updateMask": "expirationTimeUsec"},
        )


async def attempt(call: Callable[[], Any]) -> Any:
    """Return what a call gives, or our error instead of raising it."""
    try:
        return await call()
    except OffloadError as error:
        return error


def _status(error: Mapping[str, Any]) -> int:
    """Return the HTTP status of a google.rpc code."""
    codes = {3: 400, 5: 404, 7: 403, 8: 429, 9: 400, 16: 401}
    return codes.get(int(error.get("code") or 0), 500)
