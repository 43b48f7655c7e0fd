"""Notices: tell the user by a command or a webhook that a job needs them or has ended. Each event once.

The event `notified` is written before the command runs, so that no restart runs it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import ssl
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from asgiref.sync import sync_to_async
from django.conf import settings

from jobs.errors import OffloadError
from jobs.execution import secret_store
from jobs.models import JobEvent
from jobs.operations import NOTIFIED, is_webhook, recent_events
from jobs.serializers import NoticeJson, notice_json

TOKEN = "NOTIFY_TOKEN"  # a secret of that name is given to the command, or to the webhook as its bearer
SECONDS = 30.0
_AFTER_RESTART = 500  # events that are looked at again after a restart
_OVERLAP = 64  # PostgreSQL commits ids out of order


class Notices:
    """The notices of one reconciler. `seconds`: how long a command may take."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._last: int | None = None
        self._known: set[int] = set()

    @sync_to_async
    def find(self) -> list[NoticeJson]:
        """Return the notices that no reconciler has begun to send, oldest first."""
        if not settings.OFFLOAD.notify:
            self._last = None
            return []
        if self._last is None:
            self._begin()
        found = []
        for event in recent_events((self._last or 0) - _OVERLAP):
            self._last = max(self._last or 0, event.id)
            if event.id in self._known or event.job is None:
                continue
            notice = notice_json(event, event.job)
            if notice is not None and notice["kind"] in settings.OFFLOAD.notify_kinds:
                found.append(notice)
            else:
                self._known.add(event.id)
        self._known = {number for number in self._known if number > (self._last or 0) - _OVERLAP}
        return found

    def _begin(self) -> None:
        """Find where to begin. What happened before notices were first on is no news."""
        told = JobEvent.objects.filter(kind=NOTIFIED)
        first = told.order_by("id").first()
        if first is None:
            first = JobEvent.objects.create(kind=NOTIFIED, data={"event": None})
        newest = JobEvent.objects.order_by("-id").values_list("id", flat=True).first() or 0
        self._known = set(range(first.id - _OVERLAP, first.id + 1))
        self._last = max(first.id, newest - _AFTER_RESTART)

    async def send(self, notice: NoticeJson) -> None:
        """Tell the user, once; a failure is recorded, and not tried again."""
        self._known.add(notice["event"])
        told = JobEvent.objects.filter(kind=NOTIFIED, job_id=notice["job"])
        if await told.filter(data__event=notice["event"]).aexists():
            return
        data = {"event": notice["event"], "kind": notice["kind"]}
        row = await JobEvent.objects.acreate(kind=NOTIFIED, job_id=notice["job"], data=data)
        error = await _deliver(list(settings.OFFLOAD.notify), notice, self._seconds)
        if error:
            await told.filter(id=row.id).aupdate(data={**data, "error": error})


async def _deliver(words: Sequence[str], notice: NoticeJson, seconds: float) -> str:
    """Run the command or call the webhook; return why that failed, or nothing."""
    token = ""
    try:
        token = (await asyncio.to_thread(secret_store().get, TOKEN) or "").strip()
        if is_webhook(words):
            return await asyncio.to_thread(_post, words[0], notice, token, seconds)
        return await _run(words, notice, token, seconds)
    except (OSError, ValueError, http.client.HTTPException, OffloadError) as error:
        said = f"{type(error).__name__}: {error}"
        # http.client names the header that it refuses, with its value, as Python writes it.
        for form in (token, repr(token)[1:-1]):
            said = said.replace(form, "***") if form else said
        return said[:500]


async def _run(words: Sequence[str], notice: NoticeJson, token: str, seconds: float) -> str:
    # What a forge or a job wrote cannot become an option of the command.
    message = f"· {notice['message']}" if notice["message"].startswith("-") else notice["message"]
    values = {"{title}": notice["title"], "{message}": message, "{kind}": notice["kind"]}
    argv = [values.get(word, word) for word in words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OFFLOAD_")}
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        env=environment | ({TOKEN: token} if token else {}), start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(seconds):
            _, said = await process.communicate(json.dumps(notice).encode())
    except TimeoutError:
        return f"{argv[0]} did not end within {seconds:g} s, and was killed."
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    last = said.decode(errors="replace").strip().rpartition("\n")[2][:500]
    return f"{argv[0]} ended with {process.returncode}: {last}" if process.returncode else ""


def _post(url: str, notice: NoticeJson, token: str, seconds: float) -> str:
    parts: SplitResult = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=seconds, context=context
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    try:
        connection.request("POST", path, json.dumps(notice), headers)
        status = connection.getresponse().status
    finally:
        connection.close()
    # A redirect is not followed: it would take the token elsewhere.
    return "" if 200 <= status < 300 else f"{parts.hostname} answered {status}."
