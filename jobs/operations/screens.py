"""What sessions show, for pages that show many: one stream per worker, however many pages are open.

A page says which jobs it shows, again whenever that changes; no other session is looked at, and a worker that
no page shows has no stream. Pictures are a worker's word: what is not one is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.utils import timezone

from jobs.errors import OffloadError
from jobs.models import Job, Worker
from jobs.remote.client import SILENT
from jobs.workers import connect

log = logging.getLogger("offload.screens")

MOST_SHOWN = 100  # sessions of one page
LINGER_SECONDS = 5.0  # a stream without sessions is kept so long: a page that scrolls soon shows others
BACKOFF_SECONDS = (1, 2, 5, 10, 15)
_MOST_CELLS = 1000
_MOST_CHARACTERS = 64 * 1024


@dataclass(frozen=True)
class Picture:
    """What a session shows: text with colours as escape sequences. `gone`: there is no such session.

    `dead`: its program has ended.
    """

    job_id: int
    text: str = ""
    columns: int = 80
    rows: int = 24
    dead: bool = False
    gone: bool = False


@dataclass(frozen=True)
class LineState:
    """Whether a job's worker answers; if not, why (`error`), and when it last did (`seen`)."""

    job_id: int
    error: str = ""
    seen: datetime | None = None


class ScreenPage:
    """One page that shows sessions. It gets the newest picture of each; older ones are not kept for it."""

    def __init__(self, screens: Screens) -> None:
        self._screens = screens
        self._waiting: dict[tuple[int, type], Picture | LineState] = {}
        self._news = asyncio.Event()
        self._shown: Mapping[int, Mapping[str, int]] = {}

    async def show(self, job_ids: Collection[int]) -> None:
        """Show these jobs and no others from now on; those without a session are left out."""
        found = Job.objects.filter(id__in=list(job_ids)[:MOST_SHOWN], removed_at__isnull=True)
        shown: dict[int, dict[str, int]] = {}
        async for job_id, worker, session in found.exclude(worktree="").values_list(
            "id", "worker_id", "session"
        ):
            shown.setdefault(worker, {})[session] = job_id
        before, self._shown = self._shown, shown
        kept = {job for jobs in shown.values() for job in jobs.values()}
        self._waiting = {key: news for key, news in self._waiting.items() if key[0] in kept}
        for worker in {*before, *shown}:
            self._screens.changed(self, worker, before.get(worker, {}), shown.get(worker, {}))

    def put(self, news: Picture | LineState) -> None:
        """Give the page something new; it takes the place of older news of its kind."""
        self._waiting[news.job_id, type(news)] = news
        self._news.set()

    async def news(self) -> Sequence[Picture | LineState]:
        """Return what is new, once there is something."""
        await self._news.wait()
        self._news.clear()
        news, self._waiting = list(self._waiting.values()), {}
        return news

    async def aclose(self) -> None:
        """Show nothing any more. Idempotent."""
        before, self._shown = self._shown, {}
        for worker, sessions in before.items():
            self._screens.changed(self, worker, sessions, {})


class _Line:
    """The stream of one worker, and the pages that show sessions of it."""

    def __init__(self, worker_id: int) -> None:
        self.pages: dict[ScreenPage, Mapping[str, int]] = {}
        self.ending: asyncio.TimerHandle | None = None
        self._worker_id = worker_id
        self._wanted: asyncio.Queue[Sequence[str]] | None = None
        self._asked: Sequence[str] = ()
        self._last: dict[str, Picture] = {}
        self._error = ""
        self._answered = False
        self._seen: datetime | None = None
        self.task = asyncio.create_task(self._run(), name=f"screens of worker {worker_id}")

    def show(self, page: ScreenPage, new: Mapping[str, int]) -> None:
        """Give a page at once what is known of sessions that are new to it, and ask for the rest."""
        for session, job_id in new.items():
            if session in self._last:
                page.put(replace(self._last[session], job_id=job_id))
            if self._error:
                page.put(LineState(job_id, self._error, self._seen))
        self.ask()

    def ask(self) -> None:
        """Ask the worker for the sessions that are shown now, unless it was asked for the same."""
        sessions = sorted({session for shown in self.pages.values() for session in shown})
        self._last = {name: picture for name, picture in self._last.items() if name in sessions}
        if self._wanted is not None and sessions != self._asked:
            self._asked = sessions
            self._wanted.put_nowait(sessions)

    async def _run(self) -> None:
        failures = 0
        while True:
            self._answered = False
            try:
                await self._follow()
            except OffloadError as error:
                self._tell_state(error.message)
            except Exception:
                log.exception("Watching the sessions of worker %s failed.", self._worker_id)
                self._tell_state("Watching its sessions failed; the log of the dashboard says why.")
            finally:
                self._wanted, self._last = None, {}
            failures = 0 if self._answered else failures + 1
            await asyncio.sleep(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])

    async def _follow(self) -> None:
        worker = await Worker.objects.aget(id=self._worker_id)
        self._seen = self._seen or worker.observed_at
        async with connect(worker) as connection:
            self._wanted, self._asked = asyncio.Queue(), ()
            self._wanted.put_nowait([])
            self.ask()
            async with aclosing(connection.client.screens(self._wanted)) as lines:
                async for line in lines:
                    if line.get("type") == SILENT:
                        self._tell_state("It has sent nothing for some seconds.")
                        continue
                    self._seen, self._answered = timezone.now(), True
                    if self._error:
                        self._tell_state("")
                    if line.get("type") in ("screen", "gone"):
                        self._take(line)

    def _take(self, line: Mapping[str, Any]) -> None:
        session, picture = str(line.get("session")), _picture(line)
        for page, shown in self.pages.items():
            if session in shown:
                self._last[session] = picture
                page.put(replace(picture, job_id=shown[session]))

    def _tell_state(self, error: str) -> None:
        self._error = error
        for page, shown in self.pages.items():
            for job_id in shown.values():
                page.put(LineState(job_id, error, self._seen))


class Screens:
    """The streams of this process, by worker."""

    def __init__(self) -> None:
        self._lines: dict[int, _Line] = {}

    def open(self) -> ScreenPage:
        """Return a page that shows nothing yet. The caller closes it."""
        return ScreenPage(self)

    def changed(
        self, page: ScreenPage, worker_id: int, before: Mapping[str, int], shown: Mapping[str, int]
    ) -> None:
        """Note which sessions of a worker a page shows now. For `ScreenPage` only."""
        line = self._lines.get(worker_id)
        if line is None:
            if not shown:
                return
            line = self._lines[worker_id] = _Line(worker_id)
        if shown:
            line.pages[page] = shown
        else:
            line.pages.pop(page, None)
        if line.ending is not None:
            line.ending.cancel()
            line.ending = None
        if not line.pages:
            line.ending = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._end, worker_id)
        line.show(page, {name: job for name, job in shown.items() if name not in before})

    def _end(self, worker_id: int) -> None:
        self._lines.pop(worker_id).task.cancel()


def _picture(line: Mapping[str, Any]) -> Picture:
    """Return a line of the stream as a picture of no job yet, within bounds."""
    if line.get("type") == "gone":
        return Picture(0, gone=True)
    text, dead = str(line.get("text") or "")[-_MOST_CHARACTERS:], line.get("dead") is True
    return Picture(0, text, _cells(line.get("columns"), 80), _cells(line.get("rows"), 24), dead)


def _cells(value: Any, otherwise: int) -> int:
    is_size = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_CELLS
    return value if is_size else otherwise


SCREENS = Screens()
