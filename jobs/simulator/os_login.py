"""The simulated OS Login: one account's ssh keys, and its user name in each project."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping

from jobs.simulator.refusals import RpcError, malformed
from jobs.simulator.world import Json


class OsLogin:
    """Answers for `users/...`."""

    @property
    def state(self) -> Json:
        """What is so: `email`, `keys`, `users`."""
        raise NotImplementedError

    def _profile(self, groups: tuple[str, ...], query: Mapping[str, list[str]], body: Json) -> Json:
        if groups[0].replace("%40", "@") != self.state["email"]:
            raise RpcError(403, "PERMISSION_DENIED", "The caller does not have permission")
        project = (query.get("projectId") or [""])[0]
        username = self.state["users"].get(project)
        accounts = [
            {
                "primary": True, "username": username, "uid": "3000000001", "gid": "3000000001",
                "homeDirectory": f"/home/{username}", "operatingSystemType": "LINUX", "accountId": project,
            }
        ] if username else []  # fmt: skip
        profile: Json = {"name": "100000000000000000001", "sshPublicKeys": self.state["keys"]}
        return {**profile, "posixAccounts": accounts} if accounts else profile

    def _add_key(self, groups: tuple[str, ...], query: Mapping[str, list[str]], body: Json) -> Json:
        self._profile(groups, query, body)
        key = str(body.get("key", ""))
        words = key.split()
        if len(words) < 2 or not words[0].startswith(("ssh-", "ecdsa-")):
            raise malformed("Invalid ssh public key.")
        if project := (query.get("projectId") or [""])[0]:
            self.state["users"][project] = re.sub(r"[^a-z0-9]", "_", self.state["email"])
        fingerprint = hashlib.sha256(base64.b64decode(words[1])).hexdigest()
        if fingerprint not in self.state["keys"]:
            name = f"users/{self.state['email']}/sshPublicKeys/{fingerprint}"
            entry = {"key": key, "fingerprint": fingerprint, "name": name}
            if body.get("expirationTimeUsec"):
                entry["expirationTimeUsec"] = str(body["expirationTimeUsec"])
            self.state["keys"][fingerprint] = entry
        return {"loginProfile": self._profile(groups, query, body)}

    def _change_key(self, groups: tuple[str, ...], query: Mapping[str, list[str]], body: Json) -> Json:
        entry: Json | None = self.state["keys"].get(groups[1])
        if entry is None:
            raise RpcError(404, "NOT_FOUND", "The key was not found.")
        entry.pop("expirationTimeUsec", None)
        if body.get("expirationTimeUsec"):
            entry["expirationTimeUsec"] = str(body["expirationTimeUsec"])
        return entry
