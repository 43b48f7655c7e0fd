"""The terminals that are open in this process: the cap, who sees whom, the heartbeat.

Everything runs on one event loop, except `end_login`, which Django calls from its threads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from jobs.workers import Parts
from terminals import frames
from terminals.attachment import Role
from terminals.bridge import Bridge
from terminals.frames import Close, FrameError

TICK = 5.0
RECHECK_EVERY = 30.0
log = logging.getLogger(__name__)


@dataclass(eq=False)
class Entry:
    """An open terminal and the login behind it. `allowed` asks whether that login still counts.

    `ending` asks when and why its machine stops soon; `told` is what its page was told last of that.
    """

    bridge: Bridge
    login: str
    allowed: Callable[[], Awaitable[bool]]
    ending: Callable[[], Awaitable[Parts]]
    checked_at: float
    told: list[str | datetime] | None = None


class Registry:
    """Every open terminal of one server process."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._heart: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Bridge]:
        return iter([entry.bridge for entry in self._entries])

    def add(
        self,
        bridge: Bridge,
        *,
        cap: int,
        login: str,
        allowed: Callable[[], Awaitable[bool]],
        ending: Callable[[], Awaitable[Parts]],
    ) -> Entry:
        """Take in a terminal. Raises `FrameError` when there are `cap` already.

        An older socket of the same browser tab (its network went away, and we have not noticed) is closed.
        """
        for other in self._others(bridge):
            if bridge.tab and other.tab == bridge.tab:
                other.close(Close.REPLACED, "replaced", "This tab has connected again.")
                break
        else:
            if len(self._entries) >= cap:
                raise FrameError(
                    Close.TOO_MANY,
                    f"{len(self._entries)} terminals are open; the cap is {cap} (OFFLOAD_MAX_TERMINALS).",
                )
        self._loop = asyncio.get_running_loop()
        entry = Entry(bridge, login, allowed, ending, self._loop.time())
        self._entries.append(entry)
        bridge.on_change = lambda: self.tell_viewers(bridge)
        bridge.on_take = lambda: self.take(bridge)
        if self._heart is None:
            self._heart = self._loop.create_task(self._beat())
        return entry

    def older(self, bridge: Bridge) -> list[Bridge]:
        """Return the older terminals of the same browser tab."""
        return [other for other in self._others(bridge) if bridge.tab and other.tab == bridge.tab]

    def remove(self, entry: Entry) -> None:
        """Forget a terminal that is closed; if it drove the session, the longest follower does now."""
        self._entries.remove(entry)
        bridge = entry.bridge
        bridge.on_change = lambda: None
        others = self._others(bridge)
        if not any(other.role is Role.DRIVE for other in others):
            followers = [other for other in others if other.role is Role.FOLLOW]
            followers.sort(key=lambda other: other.requested is not Role.DRIVE)  # a phone after the others
            if followers:
                followers[0].start(followers[0].attach(Role.DRIVE))
        self.tell_viewers(bridge)
        if not self._entries and self._heart is not None:
            self._heart.cancel()
            self._heart = None

    def _others(self, bridge: Bridge) -> list[Bridge]:
        return [
            entry.bridge
            for entry in self._entries
            if entry.bridge is not bridge
            and (entry.bridge.job_id, entry.bridge.kind) == (bridge.job_id, bridge.kind)
        ]

    def tell_viewers(self, bridge: Bridge) -> None:
        """Tell everyone at this session who is there, and followers the size to show."""
        here = [
            e.bridge
            for e in self._entries
            if (e.bridge.job_id, e.bridge.kind) == (bridge.job_id, bridge.kind)
        ]
        driver = next((other for other in here if other.role is Role.DRIVE), None)
        for viewer in here:
            people = [
                {"who": other.actor, "role": other.role, "you": other is viewer, "since": int(other.since)}
                for other in here
            ]
            viewer.say(frames.control("viewers", viewers=people))
            if driver is not None and viewer.role is not Role.DRIVE:
                viewer.lead(driver.size)
        # A phone drives while it is alone, or when it took over.
        may_drive = bridge.role is Role.FOLLOW and bridge.requested is Role.DRIVE
        if may_drive and driver is not None and driver.requested is Role.FOLLOW:
            bridge.start(self.take(bridge))

    async def take(self, bridge: Bridge) -> None:
        """Let this viewer's size count; the viewer that drove before follows now."""
        bridge.requested = Role.DRIVE
        for other in self._others(bridge):
            if other.role is Role.DRIVE:
                # In the other's own task: it must not stay half attached when this viewer leaves now.
                await asyncio.shield(other.start(other.attach(Role.FOLLOW)))
        await bridge.attach(Role.DRIVE)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            for entry in list(self._entries):
                try:
                    await self.check(entry)
                except Exception:
                    log.exception("Checking a terminal of job %s failed", entry.bridge.job_id)

    async def check(self, entry: Entry) -> None:
        """Look after one terminal: is its browser there, does its login count, does its machine stay?"""
        entry.bridge.tick()
        now = asyncio.get_running_loop().time()
        if now - entry.checked_at >= RECHECK_EVERY:
            entry.checked_at = now
            if not await entry.allowed():
                _end(entry)
            else:
                await self.tell_ending(entry)

    async def tell_ending(self, entry: Entry) -> None:
        """Say when and why the machine stops once that is soon, and that it does not when that has passed."""
        parts = list(await entry.ending())
        if parts != entry.told:  # at first in any case: the page may know an older end
            entry.told = parts
            entry.bridge.say(frames.ending(parts))

    def end_login(self, login: str) -> None:
        """Close every terminal of a login that has ended. Safe to call from any thread."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return

        def end() -> None:
            for entry in self._entries:
                if login and entry.login == login:
                    _end(entry)

        loop.call_soon_threadsafe(end)


def _end(entry: Entry) -> None:
    entry.bridge.close(
        Close.NOT_LOGGED_IN,
        "login_ended",
        "Your login has ended.",
        "Log in again in another tab, then reconnect here; the session goes on.",
    )


registry = Registry()
