"""Logging in by a link that works once, until the dashboard is stopped or the logins are ended.

A link's token is shown once and kept only as a hash: a file under `OFFLOAD_HOME/login/`, named by the
hash, holding the time when it expires. The request that removes the file has used the link, so that of two
requests at once one wins. Sessions carry a mark that is made when `serve` starts and deleted when it stops.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from django.conf import settings
from django.contrib.auth import login, logout
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.html import escape
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from jobs import invocation
from offload_web import secret_key

LINK_SECONDS = 600
USER_NAME = "local"
LOGINS = "logins"  # the file with the mark of valid sessions, and the mark's key in a session
BACKEND = "django.contrib.auth.backends.ModelBackend"
_MOST_REMEMBERED = 1_000
_remembered: OrderedDict[str, None] = OrderedDict()
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def _directory() -> Path:
    return Path(settings.OFFLOAD.home) / "login"


def _file_of(token: str) -> Path:
    return _directory() / hashlib.sha256(token.encode("ascii")).hexdigest()


def make_link(base_url: str, filters: str = "") -> str:
    """Return a link that logs one browser in, once, within the next ten minutes.

    It leads to the inbox. `filters`: the query of its address, for example `repository=owner/repo`.

    Any process that can write to `OFFLOAD_HOME` can make one; only the dashboard's owner can.
    """
    directory = _directory()
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    _sweep(directory)
    token = secrets.token_urlsafe(32)
    descriptor = os.open(_file_of(token), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(str(time.time() + LINK_SECONDS))
    shown = f"&filters={quote(filters)}" if filters else ""
    return f"{base_url.rstrip('/')}/login/?token={quote(token)}{shown}"


def write_link_page(link: str) -> Path:
    """Write a page that leads to a link, for the browser to open; return its path.

    Every user of the machine can read the arguments of a browser's process, and only the owner the page.
    """
    path = _directory() / f"open-{secrets.token_urlsafe(8)}.html"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(f'<!doctype html><meta http-equiv="refresh" content="0;url={escape(link)}">\n')
    return path


def current_logins() -> str:
    """Return the mark that valid sessions carry; empty when no dashboard has been started."""
    try:
        return (Path(settings.OFFLOAD.home) / LOGINS).read_text(encoding="ascii")
    except FileNotFoundError:
        return ""


def allow_logins() -> None:
    """Make a mark for sessions unless one is left from a dashboard that was killed: its logins stay valid."""
    secret_key.load_or_make(Path(settings.OFFLOAD.home), LOGINS, lambda: secrets.token_urlsafe(16))


def end_logins() -> None:
    """End every browser's session, now and for good."""
    (Path(settings.OFFLOAD.home) / LOGINS).unlink(missing_ok=True)


def remember_login(session_key: str | None) -> None:
    """Note in this process that a session was found to be logged in: its large bodies are read."""
    if session_key:
        _remembered[session_key] = None
        _remembered.move_to_end(session_key)
        while len(_remembered) > _MOST_REMEMBERED:
            _remembered.popitem(last=False)


def is_remembered(session_key: str) -> bool:
    """Tell whether a session was found to be logged in."""
    return session_key in _remembered


def _sweep(directory: Path) -> None:
    now = time.time()
    for path in directory.iterdir():
        try:
            page = path.suffix == ".html"
            expires = path.stat().st_mtime + LINK_SECONDS if page else float(path.read_text("ascii") or 0)
            if expires < now:
                path.unlink(missing_ok=True)
        except (OSError, ValueError):
            continue


def redeem(token: str) -> bool:
    """Use a link up; return whether it was good."""
    if not _TOKEN.fullmatch(token):
        return False
    path = _file_of(token)
    try:
        expires = float(path.read_text(encoding="ascii"))
        path.unlink()
    except (FileNotFoundError, ValueError):
        return False
    return time.time() < expires


def local_user() -> User:
    """Return the one user of a local dashboard: may do everything, has no password."""
    user, created = User.objects.get_or_create(username=USER_NAME, defaults={"is_superuser": True})
    if created:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    return user


def _without_referrer(view: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    @functools.wraps(view)
    def answer(request: HttpRequest) -> HttpResponse:
        response = view(request)
        response["Referrer-Policy"] = "no-referrer"
        return response

    return answer


def _page(*, failed: bool) -> dict[str, object]:
    return {"failed": failed, "command": invocation.command("serve --link")}


@never_cache
@login_not_required
@_without_referrer
@require_http_methods(["GET"])
def login_view(request: HttpRequest) -> HttpResponse:
    """Log in by the token of a link, or say how to get one.

    The token leaves the address at once. A `SameSite=Strict` cookie is not sent along a redirect that
    another site started (a link clicked in a web mail or a web terminal), so that such a visit gets a
    page of ours that goes on by itself.
    """
    filters = request.GET.get("filters", "")
    home = reverse("jobs:list") + (f"?{filters}" if filters else "")
    token = request.GET.get("token", "")
    if not token:
        if request.user.is_authenticated:
            return HttpResponseRedirect(home)
        response = render(request, "login/login.html", _page(failed=False))
        if getattr(request, "htmx", False):
            response["HX-Redirect"] = reverse("login")
        return response
    if not redeem(token):
        if request.user.is_authenticated:
            return HttpResponseRedirect(home)
        return render(request, "login/login.html", _page(failed=True), status=403)
    login(request, local_user(), backend=BACKEND)
    request.session[LOGINS] = current_logins()
    if request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin"):
        return HttpResponseRedirect(home)
    return render(request, "login/welcome.html", {"home": home})


@require_http_methods(["POST"])
def logout_view(request: HttpRequest) -> HttpResponse:
    """End this browser's session."""
    _remembered.pop(request.session.session_key or "", None)
    logout(request)
    return HttpResponseRedirect(reverse("login"))
