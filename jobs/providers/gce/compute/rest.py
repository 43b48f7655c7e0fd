"""Calls of the services around Compute Engine: JSON in and out, calls in a thread.

They have no client library among our dependencies, and need none: google.auth signs the requests (see
`credentials`), and an endpoint of loopback gets none of that. Errors become ours, as in `api`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from jobs.errors import ConnectFailed, NotConfigured, OffloadError, WorkerUnavailable
from jobs.providers.gce.compute import answers, endpoints, errors, retry
from jobs.providers.gce.identity import credentials

Json = dict[str, Any]
CALL_SECONDS = 30.0


class NotAsked(OffloadError):
    """The service was not asked: the Compute API is an emulator, and this service is none."""

    code = "not_asked"


class Rest:
    """The services of one project; close it when done."""

    def __init__(self, project: str) -> None:
        self.project = project
        self._sessions: dict[bool, Any] = {}

    def close(self) -> None:
        """End the connections."""
        while self._sessions:
            self._sessions.popitem()[1].close()

    async def call(
        self,
        service: str,
        method: str,
        path: str,
        doing: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> Json:
        """Return the answer. `path` begins with the version (`v1/projects/p`); `doing` begins an error.

        Each call may be sent twice. Raises our errors (`failures`), `NotConfigured`, `NotAsked`.
        """
        base = endpoints.address(service)
        if base is None:
            raise NotAsked(
                f"{doing} was left out: the Compute API is an emulator on this machine.",
                hint=f"{endpoints.variable(service)} names an emulator of {service}, too.",
            )
        url = f"{base}/{path}"
        return await retry.patiently(lambda: self._once(service, method, url, doing, body, query))

    def _session(self, local: bool) -> Any:
        if local not in self._sessions:
            transport = importlib.import_module("google.auth.transport.requests")
            anonymous = importlib.import_module("google.auth.credentials").AnonymousCredentials
            session = transport.AuthorizedSession(anonymous() if local else credentials.load())
            session.trust_env = not local  # a proxy would carry what is meant for loopback elsewhere
            self._sessions.setdefault(local, session)
        return self._sessions[local]

    def _once(
        self,
        service: str,
        method: str,
        url: str,
        doing: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, Any] | None,
    ) -> tuple[bool, Json | OffloadError]:
        """Ask once; return whether asking again is worth it, and the answer or the error."""
        try:
            session = self._session(endpoints.is_local(url))
            auth = importlib.import_module("google.auth.exceptions")
            lines = importlib.import_module("requests.exceptions").RequestException
        except OffloadError as error:
            return False, error
        try:
            answer = session.request(
                method, url, json=body, params=query, timeout=CALL_SECONDS, max_allowed_time=2 * CALL_SECONDS
            )
        except auth.RefreshError as error:
            text = f"{doing} failed: the credentials are not taken ({credentials.reason_of(error)})."
            return False, NotConfigured(text, hint=credentials.how_to_log_in())
        except (lines, auth.TransportError) as error:
            text = f"{doing} failed: {service} does not answer ({type(error).__name__})."
            return True, ConnectFailed(text, hint="Is this machine online? Run the same command again.")
        return self._read(service, doing, answer)

    def _read(self, service: str, doing: str, answer: Any) -> tuple[bool, Json | OffloadError]:
        status = int(answer.status_code)
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            text = f"{doing} failed: the answer is not one of {service} (HTTP {status}, no JSON)."
            hint = f"If {endpoints.variable(service)} is set, is it meant?"
            return status in errors.RETRIED_STATUS, WorkerUnavailable(text, hint=hint)
        if status < 400:
            return False, found
        return self.refusal(service, doing, status, found)

    def refusal(self, service: str, doing: str, status: int, body: Json) -> tuple[bool, OffloadError]:
        """Return whether to try again, and our error, for a body with Google's (`google.rpc.Status`)."""
        error = body.get("error")
        error = error if isinstance(error, Mapping) else {}
        details = [one for one in error.get("details") or () if isinstance(one, Mapping)]
        infos = [one for one in details if str(one.get("@type", "")).endswith("ErrorInfo")]
        info: Mapping[str, Any] = infos[0] if infos else {}
        reason = str(info.get("reason") or error.get("status") or "")
        name = str((info.get("metadata") or {}).get("service") or f"{service}.googleapis.com")
        said = str(error.get("message") or answers.words(body))
        return errors.is_transient(status, reason), errors.refused(
            doing, self.project, status, reason, said, name
        )
