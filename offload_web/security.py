"""What every request and every WebSocket must satisfy, and the headers on every answer.

The Host must be one of this server's names (a site that rebinds its DNS name would pass otherwise), the
Origin of a request that changes state or opens a WebSocket must be exactly this server's, and pages may load
and run only what this server serves.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.contrib.auth import logout
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port, validate_host
from django.http.response import HttpResponseBase

from jobs.errors import Refused
from jobs.serializers import SCHEMA, error_json
from offload_web import login
from offload_web.address import AsgiApplication, Receive, Scope, Send

log = logging.getLogger("offload.security")

API = "/api/"
CHANGE_PERMISSION = "jobs.change_job"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
DEFAULT_PORTS = {"http": 80, "https": 443}

Policy = Mapping[str, tuple[str, ...]]

BASE_POLICY: Policy = {
    "default-src": ("'none'",),
    "script-src": ("'self'",),
    "style-src": ("'self'",),
    "img-src": ("'self'", "data:"),
    "font-src": ("'self'",),
    "connect-src": ("'self'",),
    "manifest-src": ("'self'",),
    "form-action": ("'self'",),
    "base-uri": ("'none'",),
    "frame-ancestors": ("'none'",),
}
# xterm.js writes its theme and its cell sizes into <style> elements and has no option for a nonce; its
# image addon and the recording player decode in WebAssembly, the player in a worker made from a blob.
_DRAWS: Policy = {
    "style-src": ("'self'", "'unsafe-inline'"),
    "script-src": ("'self'", "'wasm-unsafe-eval'"),
    "img-src": ("'self'", "data:", "blob:"),
    "worker-src": ("'self'", "blob:"),
}
POLICY_OF_NAMESPACE: Mapping[str, Policy] = {
    "terminals": _DRAWS,
    "recordings": _DRAWS,
}
HEADERS: Mapping[str, str] = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: browsers then send `Origin: null` with our own forms. The login page, whose address
    # holds a token, sets that for itself.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def policy_text(namespace: str = "") -> str:
    """Return the Content-Security-Policy of the pages of one URL namespace."""
    policy = {**BASE_POLICY, **POLICY_OF_NAMESPACE.get(namespace, {})}
    return "; ".join(f"{name} {' '.join(sources)}" for name, sources in policy.items())


def host_allowed(host: str) -> bool:
    """Tell whether a Host header names this server."""
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)


def same_origin(origin: str, host: str, scheme: str) -> bool:
    """Tell whether an Origin header is exactly `scheme://host`: scheme, name and port."""
    try:
        parts = urlsplit(origin)
        given = (parts.scheme, (parts.hostname or "").lower(), parts.port or DEFAULT_PORTS.get(parts.scheme))
        own = urlsplit(f"{scheme}://{host}")
        ours = (own.scheme, (own.hostname or "").lower(), own.port or DEFAULT_PORTS.get(scheme))
    except ValueError:
        return False
    bare = not (parts.path or parts.query or parts.fragment or parts.username or parts.password)
    return bare and bool(given[1]) and given == ours


class SecurityMiddleware:
    """Checks Host and Origin of a request, and puts the security headers on its answer."""

    sync_capable = True
    async_capable = True

    def __init__(
        self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]
    ) -> None:
        self.get_response = get_response
        self.asynchronous = iscoroutinefunction(get_response)
        if self.asynchronous:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Answer the request, or refuse it."""
        if self.asynchronous:
            return self._answer(request)
        refusal = self._refuse(request)
        return self._dress(request, refusal or self.get_response(request))  # type: ignore[arg-type]

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        refusal = self._refuse(request)
        return self._dress(request, refusal or await self.get_response(request))  # type: ignore[misc]

    def _refuse(self, request: HttpRequest) -> HttpResponse | None:
        try:
            host = request.get_host()
        except DisallowedHost:
            return _refusal(request, "This address is not one of Offload's.", 400)
        if request.method in SAFE_METHODS:
            return None
        origin = request.headers.get("Origin")
        site = request.headers.get("Sec-Fetch-Site")
        if origin is None and site in (None, "same-origin", "none"):
            # Not a browser, or one that leaves Origin out at home; the CSRF token decides.
            return None
        if origin is not None and same_origin(origin, host, request.scheme or "http"):
            return None
        log.warning("Refused a %s to %s from the origin %s.", request.method, request.path, origin)
        return _refusal(request, "The request came from another site.", 403)

    def _dress(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        match = getattr(request, "resolver_match", None)
        namespace = match.namespace if match is not None else ""
        response.headers.setdefault("Content-Security-Policy", policy_text(namespace))
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if not request.path_info.startswith(settings.STATIC_URL):
            response.headers.setdefault("Cache-Control", "no-store")
        return response


class EndOldLogins:
    """Ends a session of a dashboard that was stopped, or whose logins were ended."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Pass the request on."""
        return self.get_response(request)

    def process_view(self, request: HttpRequest, _view: Any, _args: Any, _kwargs: Any) -> None:
        """Log out a session without the current mark."""
        if not request.user.is_authenticated:
            return
        if _is_current(request.session):
            login.remember_login(request.session.session_key)
        else:
            logout(request)


class ChangesNeedPermission:
    """Requests that change something need the permission to change jobs."""

    sync_capable = True
    async_capable = True
    FREE = frozenset({"login", "logout"})

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Pass the request on."""
        return self.get_response(request)

    def process_view(self, request: HttpRequest, _view: Any, _args: Any, _kwargs: Any) -> HttpResponse | None:
        """Refuse a request that the user has no permission for."""
        match = request.resolver_match
        if request.method in SAFE_METHODS or (match is not None and match.view_name in self.FREE):
            return None
        if match is not None and match.namespace == "api" and not request.user.is_authenticated:
            # No login: the API asks for a token with a scope.
            return None
        if request.user.is_active and request.user.has_perm(CHANGE_PERMISSION):
            return None
        log.warning(
            "Refused a %s to %s of %s: no permission to change jobs.",
            request.method,
            request.path,
            request.user,
        )
        return _refusal(request, "Your login has no permission to change anything.", 403)


def refusal_body(path: str, text: str) -> tuple[str, str]:
    """Return the content type and the body of a refusal: JSON for an address of the API, else text."""
    if path.startswith(API):
        told = {"schema": SCHEMA, "error": error_json(Refused(text))}
        return "application/json", json.dumps(told)
    return "text/plain; charset=utf-8", f"{text}\n"


def _refusal(request: HttpRequest, text: str, status: int) -> HttpResponse:
    kind, body = refusal_body(request.path_info, text)
    return HttpResponse(body, status=status, content_type=kind)


class WebSocketGuard:
    """ASGI middleware: a WebSocket needs a Host of ours and exactly our Origin, else the handshake fails.

    Browsers always send Origin with a WebSocket and apply no same-origin rule to it, so that a missing
    one is refused as well.
    """

    def __init__(self, application: AsgiApplication) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Pass the connection on, or refuse the handshake."""
        headers = dict(scope.get("headers") or ())
        host = headers.get(b"host", b"").decode("latin-1")
        origin = headers.get(b"origin", b"").decode("latin-1")
        scheme = "https" if scope.get("scheme") == "wss" else "http"
        if host_allowed(host) and same_origin(origin, host, scheme):
            return await self.application(scope, receive, send)
        log.warning("Refused a WebSocket to %s from the origin %r (host %r).", scope["path"], origin, host)
        message = await receive()
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.close", "code": 4403})
        return None


def _is_current(session: Any) -> bool:
    return bool(session.get(login.LOGINS, "") == login.current_logins())


class RequireLogin:
    """ASGI middleware: a WebSocket needs the session of a user who logged in."""

    def __init__(self, application: AsgiApplication) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Pass the connection on, or refuse the handshake."""
        user = scope.get("user")
        if user is not None and user.is_authenticated and await sync_to_async(_is_current)(scope["session"]):
            login.remember_login(scope["session"].session_key)
            return await self.application(scope, receive, send)
        message = await receive()
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.close", "code": 4401})
        return None
