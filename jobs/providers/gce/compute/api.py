"""The only module that calls Google's client library: REST-shaped dictionaries in and out, calls in a thread.

Of the library only the parts in use are imported, at first use: its package imports a hundred services, which
takes seconds. `CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE` moves the
endpoint, as it does for gcloud; plain http is taken for loopback only, and then no credentials are sent.
A request that may be sent again (a read, or one with a requestId) is, when the answer was "later" or lost.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from jobs.errors import (
    ConnectFailed,
    NotConfigured,
    OffloadError,
    WorkerUnavailable,
)
from jobs.providers.gce.compute import answers, endpoints, errors, machine_state, retry
from jobs.providers.gce.compute.services import SERVICES
from jobs.providers.gce.identity import credentials

logger = logging.getLogger("offload.gce")

Json = dict[str, Any]
Answer = TypeVar("Answer")
ENDPOINT_VARIABLE = endpoints.variable("compute")
CALL_SECONDS = 60.0
_PACKAGE = "google.cloud.compute_v1"
_UNREAD = "unknown error"  # what the library says of a body without Google's form


def endpoint_override(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the endpoint that the environment names, without the API's path, or None.

    Raises `NotConfigured` for plain http to anything but loopback, and for what is no URL.
    """
    found = endpoints.override("compute", environ)
    return found.removesuffix("/projects").removesuffix("/compute/v1") if found else None


def load_library() -> None:
    """Import what every request of Google's client library needs. Raises `NotConfigured`."""
    _part("services.instances")
    for name in ("google.api_core.exceptions", "google.auth.credentials", "google.auth.transport.requests"):
        importlib.import_module(name)


_importing = threading.Lock()


@functools.cache
def _part(name: str) -> Any:
    """Import a module of the library without what the package itself imports."""
    with _importing:
        try:
            if _PACKAGE not in sys.modules and (spec := importlib.util.find_spec(_PACKAGE)) is not None:
                # The package has its path and nothing else: its modules name each other in full.
                sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
            return importlib.import_module(f"{_PACKAGE}.{name}")
        except ImportError as error:
            raise credentials.missing_library() from error


def _types() -> Any:
    return _part("types.compute")


def require_library() -> None:
    """Raise `NotConfigured` when Google's client library is not installed. Does not import it."""
    try:
        if importlib.util.find_spec(_PACKAGE) is not None:
            return
    except ModuleNotFoundError:
        pass
    raise credentials.missing_library()


_clients: dict[tuple[str, str | None], Any] = {}


def close_clients() -> None:
    """Close every connection to the API."""
    while _clients:
        _clients.popitem()[1].transport.close()


def _client(service: str, endpoint: str | None) -> Any:
    found = _clients.get((service, endpoint))
    if found is not None:
        return found
    # Before the library, which takes its time: without credentials there is nothing to wait for.
    real = None if endpoints.is_local(endpoint) else credentials.load()
    library = _part(f"services.{service}")
    auth = importlib.import_module("google.auth.credentials")
    options = importlib.import_module("google.api_core.client_options")
    made = getattr(library, SERVICES[service][0])(
        credentials=real or auth.AnonymousCredentials(),
        client_options=options.ClientOptions(api_endpoint=endpoint) if endpoint else None,
    )
    session = getattr(made.transport, "_session", None)
    if session is not None:
        session.hooks["response"] += [_hear]
    return _clients.setdefault((service, endpoint), made)


_heard = threading.local()


def _hear(response: Any, *_: Any, **__: Any) -> None:
    _heard.response = response


def _ask(ask: Callable[[], Any]) -> Json:
    """Return an answer as a dictionary. Raises the library's errors, and its `ParseError` for no JSON."""
    _heard.response = None
    try:
        message = ask()
    except (AttributeError, KeyError, TypeError) as error:
        # The library takes an error's body for one of Google's form.
        status = getattr(_heard.response, "status_code", 0)
        if status < 400:
            raise
        errors = importlib.import_module("google.api_core.exceptions")
        raise errors.from_http_status(status, answers.complaint(_heard.response)) from error
    found: Json = importlib.import_module("google.protobuf.json_format").MessageToDict(
        type(message).pb(message)
    )
    return found


def check_body(kind: str, body: bytes) -> str:
    """Return what is wrong with a JSON body of the API's type `kind` (`Instance`), or an empty text."""
    try:
        getattr(_types(), kind).from_json(body.decode() or "{}")
    except (_parse_error(), UnicodeDecodeError, TypeError) as error:
        return str(error) or type(error).__name__
    return ""


def _parse_error() -> Any:
    return importlib.import_module("google.protobuf.json_format").ParseError


def _unreadable(doing: str, error: Exception) -> OffloadError:
    return WorkerUnavailable(
        f"{doing} failed: the endpoint's answer is not one of the Compute API ({error}).",
        hint=f"If {ENDPOINT_VARIABLE} is set, is it meant?",
    )


def _first_page(method: Callable[..., Any], **arguments: Any) -> Any:
    return next(iter(method(**arguments).pages))


def _request(service: str, verb: str, body: Mapping[str, Any] | None, fields: Mapping[str, Any]) -> Any:
    _, singular, plural = SERVICES[service]
    name = "".join(part.capitalize() for part in verb.split("_"))
    kind = getattr(_types(), f"{name}{plural if verb.endswith('list') else singular}Request")
    values = dict(fields)
    if body is not None:
        slot = next(one for one in kind.meta.fields if one.endswith("_resource"))
        values[slot] = kind.meta.fields[slot].message.from_json(json.dumps(body))
    return kind(**values)


class Api:
    """The Compute API for one project."""

    def __init__(self, project: str, endpoint: str | None = None) -> None:
        self.project = project
        self._endpoint = endpoint

    async def call(
        self, service: str, verb: str, doing: str, body: Mapping[str, Any] | None = None, /, **fields: Any
    ) -> Json:
        """Call `verb` of a service and return the answer: a resource, or the operation that was accepted.

        `doing` begins the sentence of an error. Raises our errors (`failures`), and `NotConfigured`.
        """

        def once() -> Json:
            client = _client(service, self._endpoint)
            method = getattr(client, f"{verb}_unary", None) or getattr(client, verb)
            request = _request(service, verb, body, {"project": self.project, **fields})
            try:
                return _ask(lambda: method(request=request, retry=None, timeout=CALL_SECONDS))
            except _parse_error() as error:
                raise _unreadable(doing, error) from error

        return await self._patiently(doing, once)

    async def pages(self, service: str, verb: str, doing: str, /, **fields: Any) -> list[Json]:
        """Return everything a `list` or `aggregated_list` has, over all its pages."""

        def once() -> list[Json]:
            method = getattr(_client(service, self._endpoint), verb)
            found: list[Json] = []
            seen = [""]
            while True:
                request = _request(
                    service, verb, None, {"project": self.project, **fields, "page_token": seen[-1]}
                )
                try:
                    page = _ask(
                        functools.partial(
                            _first_page, method, request=request, retry=None, timeout=CALL_SECONDS
                        )
                    )
                except _parse_error() as error:
                    raise _unreadable(doing, error) from error
                found += answers.items(page)
                token = str(page.get("nextPageToken") or "")
                if token in seen:
                    return found
                seen.append(token)

        return await self._patiently(doing, once)

    async def history(self, service: str, target: str, /, **scope: str) -> list[Json]:
        """Return the operations on what `target` ends a link to (`instances/worker`), newest first."""
        doing = f"Reading what was done to {target}"
        found = await self.pages(service, "list", doing, filter=f'targetLink eq ".*/{target}"', **scope)
        of_it = [one for one in found if str(one.get("targetLink", "")).endswith(f"/{target}")]
        return sorted(of_it, key=lambda one: machine_state.when(str(one.get("insertTime", ""))), reverse=True)

    async def _patiently(self, doing: str, once: Callable[[], Answer]) -> Answer:
        def attempt() -> tuple[bool, Answer | OffloadError]:
            try:
                return False, once()
            except OffloadError as error:
                return False, error
            except Exception as error:
                again, translated = self._translate(doing, error)
                translated.__cause__ = error
                return again, translated

        return await retry.patiently(attempt)

    def _translate(self, doing: str, error: Exception) -> tuple[bool, OffloadError]:
        """Return whether to try again, and our error. What we do not know is raised as it is."""
        answered = importlib.import_module("google.api_core.exceptions").GoogleAPICallError
        auth = importlib.import_module("google.auth.exceptions")
        lines = importlib.import_module("requests.exceptions").RequestException
        if isinstance(error, answered):
            status = int(error.code or 0)
            first = error.errors[0] if error.errors and isinstance(error.errors[0], Mapping) else {}
            reason = str(first.get("reason") or error.reason or "")
            said = re.sub(r"^[A-Z]+ https?://\S+: ", "", str(first.get("message") or error.message or ""))
            if said in ("", _UNREAD):
                said = answers.complaint(_heard.response) or said
            return errors.is_transient(status, reason), errors.refused(
                doing, self.project, status, reason, said
            )
        if isinstance(error, (auth.RefreshError, auth.DefaultCredentialsError)):
            return False, NotConfigured(
                f"{doing} failed: the credentials for Google Cloud are not taken "
                f"({credentials.reason_of(error)}).",
                hint=credentials.how_to_log_in(),
            )
        if isinstance(error, (lines, auth.TransportError)):
            return True, ConnectFailed(
                f"{doing} failed: the Compute API does not answer ({type(error).__name__}: {error}).",
                hint="Is this machine online? Nothing is lost; run the same command again.",
            )
        raise error
