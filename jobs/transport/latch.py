"""An event that costs a tenth of asyncio's own while nobody waits for it.

`asyncio.Event` keeps a queue of waiters from its first moment: 700 bytes. A terminal has five of them, and a
server has hundreds of terminals.
"""

from __future__ import annotations

import asyncio


class Latch:
    """Set or not; `wait` returns once it is set. The same methods as `asyncio.Event`."""

    __slots__ = ("_set", "_waiters")

    def __init__(self) -> None:
        self._set = False
        self._waiters: list[asyncio.Future[None]] | None = None

    def is_set(self) -> bool:
        """Tell whether it is set."""
        return self._set

    def set(self) -> None:
        """Set it, and let everyone who waits go on."""
        self._set = True
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def clear(self) -> None:
        """Unset it."""
        self._set = False

    async def wait(self) -> None:
        """Return at once if it is set, else when it has been."""
        if self._set:
            return
        waiter = asyncio.get_running_loop().create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if self._waiters is not None and waiter in self._waiters:
                self._waiters.remove(waiter)
