"""What a piece of code must leave as it found it: descriptors, child processes, tasks."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.sshd import children

PATIENCE = 5.0


def processes_with(text: str) -> list[int]:
    """Return the living processes that have `text` as one of their arguments."""
    wanted = text.encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                argv = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if wanted in argv:
                found.append(int(entry.name))
    return found


async def until(condition: object, what: str, patience: float = PATIENCE) -> None:
    """Wait until `condition()` is true; fail with `what` when it never is."""
    deadline = time.monotonic() + patience
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.01)


def resident_bytes() -> int:
    """Return this process's resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Holdings:
    """A count of what this process holds."""

    descriptors: int
    processes: int
    tasks: int

    @classmethod
    def now(cls) -> Self:
        """Count."""
        return cls(len(os.listdir("/proc/self/fd")), len(children(os.getpid())), len(asyncio.all_tasks()))

    async def come_back(self) -> None:
        """Wait until nothing more is held than now; fail with the difference."""
        deadline = time.monotonic() + PATIENCE
        while True:
            now = Holdings.now()
            if (
                now.descriptors <= self.descriptors
                and now.processes <= self.processes
                and now.tasks <= self.tasks
            ):
                return
            assert time.monotonic() < deadline, f"leaked: {self} became {now}"
            await asyncio.sleep(0.02)
