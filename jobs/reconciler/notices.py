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
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import SplitResult, urlsplit

from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils import timezone

from jobs.errors import OffloadError
from jobs.execution import secret_store
from jobs.models import Job, JobEvent
from jobs.operations import NOTIFIED, is_webhook
from jobs.serializers import headline
from jobs.states import Attention, JobState, NoticeKind

TOKEN = "NOTIFY_TOKEN"  # a secret of that name is given to the command, or to the webhook as its bearer
SECONDS = 30.0
# An older event is no news: the dashboard was not running, or notices were off.
NEWS = timedelta(hours=1)
_AFTER_RESTART = 500  # events that are looked at again after a restart
_OVERLAP = 64  # PostgreSQL commits ids out of order
_TITLES = {
    NoticeKind.NEEDS_YOU: "Needs you",
    NoticeKind.DONE: "Done",
    NoticeKind.FAILED: "Failed",
    NoticeKind.LIMIT: "At a limit",
}
_ENDS = {
    JobState.SUCCEEDED: NoticeKind.DONE,
    JobState.FAILED: NoticeKind.FAILED,
    JobState.INTERRUPTED: NoticeKind.NEEDS_YOU,
}
_WAITS = {
    Attention.INPUT: NoticeKind.NEEDS_YOU,
    Attention.APPROVAL: NoticeKind.NEEDS_YOU,
    Attention.LIMIT: NoticeKind.LIMIT,
}


@dataclass(frozen=True)
class Notice:
    """What the user is told. `event`: the id of the event behind it."""

    event: int
    job: int
    kind: NoticeKind
    title: str
    message: str
    url: str

    def as_json(self) -> dict[str, Any]:
        """Return it as the command reads it and as a webhook gets it (`text` is what chat programs show)."""
        return {
            "text": f"{self.title}\n{self.message}",
            "title": self.title,
            "message": self.message,
            "kind": self.kind.value,
            "job": self.job,
            "url": self.url or None,
        }


def kind_of(event: JobEvent, job: Job) -> NoticeKind | None:
    """Return what an event of a job is to its user; None when it is nothing, or no longer so."""
    if event.kind == "state" and event.data.get("state") == job.state:
        return _ENDS.get(JobState(job.state))
    if event.kind == "attention" and event.data.get("attention") == job.attention:
        return _WAITS.get(Attention(job.attention))
    return None


class Notices:
    """The notices of one reconciler. `seconds`: how long a command may take."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._last: int | None = None
        self._known: set[int] = set()

    @sync_to_async
    def find(self) -> list[Notice]:
        """Return the notices that no reconciler has begun to send, oldest first."""
        if not settings.OFFLOAD.notify:
            self._last = None
            return []
        if self._last is None:
            self._begin()
        rows = JobEvent.objects.filter(
            id__gt=(self._last or 0) - _OVERLAP, kind__in=("state", "attention"), at__gt=timezone.now() - NEWS
        )
        found = []
        for event in rows.select_related("job__repository", "job__worker").order_by("id"):
            self._last = max(self._last or 0, event.id)
            if event.id in self._known or event.job is None:
                continue
            kind = kind_of(event, event.job)
            if kind is not None and kind.value in settings.OFFLOAD.notify_kinds:
                found.append(_notice(event, event.job, kind))
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

    async def send(self, notice: Notice) -> None:
        """Tell the user, once; a failure is recorded, and not tried again."""
        self._known.add(notice.event)
        told = JobEvent.objects.filter(kind=NOTIFIED, job_id=notice.job)
        if await told.filter(data__event=notice.event).aexists():
            return
        data = {"event": notice.event, "kind": notice.kind.value}
        row = await JobEvent.objects.acreate(kind=NOTIFIED, job_id=notice.job, data=data)
        error = await _deliver(list(settings.OFFLOAD.notify), notice, self._seconds)
        if error:
            await told.filter(id=row.id).aupdate(data={**data, "error": error})


def _notice(event: JobEvent, job: Job, kind: NoticeKind) -> Notice:
    name = f":{job.name}" if job.name else ""
    verdict = f" ({job.verdict.replace('_', ' ')})" if job.verdict and kind is NoticeKind.DONE else ""
    title = f"{_TITLES[kind]}: {job.target}{name} {job.action} of {job.repository.slug}{verdict}"
    return Notice(event.id, job.id, kind, _line(title), _line(headline(job) or job.title), job.url)


def _line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))[:500]


async def _deliver(words: Sequence[str], notice: Notice, seconds: float) -> str:
    """Run the command or call the webhook; return why that failed, or nothing."""
    try:
        token = await asyncio.to_thread(secret_store().get, TOKEN) or ""
        if is_webhook(words):
            return await asyncio.to_thread(_post, words[0], notice, token, seconds)
        return await _run(words, notice, token, seconds)
    except (OSError, ValueError, http.client.HTTPException, OffloadError) as error:
        return f"{type(error).__name__}: {error}"[:500]


async def _run(words: Sequence[str], notice: Notice, token: str, seconds: float) -> str:
    # What a forge or a job wrote cannot become an option of the command.
    message = f"· {notice.message}" if notice.message.startswith("-") else notice.message
    values = {"{title}": notice.title, "{message}": message, "{kind}": notice.kind.value}
    argv = [values.get(word, word) for word in words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OFFLOAD_")}
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        env=environment | ({TOKEN: token} if token else {}), start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(seconds):
            _, said = await process.communicate(json.dumps(notice.as_json()).encode())
    except TimeoutError:
        return f"{argv[0]} did not end within {seconds:g} s, and was killed."
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    last = _line(said.decode(errors="replace").strip().rpartition("\n")[2])
    return f"{argv[0]} ended with {process.returncode}: {last}" if process.returncode else ""


def _post(url: str, notice: Notice, token: str, seconds: float) -> str:
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
        connection.request("POST", path, json.dumps(notice.as_json()), headers)
        status = connection.getresponse().status
    finally:
        connection.close()
    # A redirect is not followed: it would take the token elsewhere.
    return "" if 200 <= status < 300 else f"{parts.hostname} answered {status}."
