"""What is measured of a terminal. Every measure opens terminals of its own and closes them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from benchmarks.clients import DRAW_RATE, Client

PROMPT = b"BENCH> "
Opener = Callable[[int, float | None], Awaitable[Client]]
"""Opens the n-th command (0 is measured, 1 is the neighbour) with a drawing rate."""


@contextlib.asynccontextmanager
async def opened(opener: Opener, job: int = 0, rate: float | None = 0.0) -> AsyncIterator[Client]:
    """Open a terminal and wait for its prompt."""
    client = await opener(job, rate if rate else 0.0)
    try:
        client.drawing.watch(PROMPT)
        await client.drawing.seen()
        client.drawing.rate = rate
        yield client
    finally:
        await client.aclose()


async def settle(client: Client) -> None:
    """Wait until output has been still for 0.2 s."""
    before = -1
    while before != client.drawing.received:
        before = client.drawing.received
        await asyncio.sleep(0.2)


async def typed(client: Client, keys: int) -> list[float]:
    """Type single keys; return the seconds until each was echoed."""
    times = []
    for number in range(keys):
        client.drawing.watch(b"x")
        start = time.perf_counter()
        client.write(b"x")
        await client.drawing.seen(10)
        times.append(time.perf_counter() - start)
        if number % 30 == 29:
            client.write(b"\x15")
            await settle(client)
        await asyncio.sleep(0.002)
    client.write(b"\x15")
    return times


async def echo(opener: Opener, keys: int = 150) -> dict[str, float]:
    """Echo on an idle server, in milliseconds."""
    async with opened(opener) as client:
        await settle(client)
        await typed(client, 20)
        times = sorted(await typed(client, keys))
    return {"p50": times[len(times) // 2] * 1000, "p95": times[int(len(times) * 0.95)] * 1000}


async def echo_beside_flood(opener: Opener, keys: int = 100) -> dict[str, float]:
    """Echo while a neighbour's terminal is flooded, in milliseconds."""
    async with opened(opener) as client, opened(opener, 1, DRAW_RATE) as neighbour:
        neighbour.write(b"yes\r")
        await asyncio.sleep(0.5)
        times = sorted(await typed(client, keys))
        neighbour.write(b"\x03")
        await settle(neighbour)
    return {"p50": times[len(times) // 2] * 1000, "p95": times[int(len(times) * 0.95)] * 1000}


async def bulk(opener: Opener, path: Path, *, exact: bool) -> dict[str, float]:
    """Print a file: MB/s, and processor milliseconds per MB.

    `exact`: the terminal is raw and every byte is compared. tmux draws instead of passing bytes on: there
    the end must appear.
    """
    size = path.stat().st_size
    async with opened(opener) as client:
        await settle(client)
        used = client.cpu()
        start = time.perf_counter()
        if exact:
            client.drawing.watch(b"START", then=size)
            client.write(f"stty raw -echo; printf STA'RT'; cat {path}; stty sane\r".encode())
            digest = await client.drawing.counted()
            assert digest == hashlib.sha256(path.read_bytes()).hexdigest(), "bytes were lost or changed"
        else:
            client.drawing.watch(b"THE-END")
            client.write(f"cat {path}; echo THE-'END'\r".encode())
            await client.drawing.seen(120)
        seconds = time.perf_counter() - start
        used = client.cpu() - used
    return {"rate": size / seconds / 1e6, "cpu": used * 1000 / (size / 1e6)}


FLOOD = b"yes " + b"0123456789" * 8 + b"\r"
"""`yes` with whole lines. Its own `y` takes a terminal two bytes a line: on many machines fewer than the
10 MB/s that are drawn, so that nothing queues up anywhere and Ctrl-C has nothing to wait for."""


async def interrupt(opener: Opener, flood: bytes = b"yes\r", times: int = 5) -> dict[str, float]:
    """Ctrl-C under a flood: milliseconds until the prompt is on the screen; bytes lost and waiting.

    `rate`: MB/s that came before, which tells whether the flood outran the drawing.
    """
    results, rates = [], []
    async with opened(opener, 0, DRAW_RATE) as client:
        for _ in range(times):
            await settle(client)
            client.drawing.peak, before = 0, client.drawing.received
            client.write(flood)
            await asyncio.sleep(0.8)
            rates.append((client.drawing.received - before) / 0.8e6)
            client.drawing.watch(PROMPT)
            start = time.perf_counter()
            client.write(b"\x03")
            await client.drawing.seen()
            results.append((time.perf_counter() - start) * 1000)
        lost, peak = client.drawing.lost, client.drawing.peak
    median, worst = statistics.median(results), max(results)
    rate = statistics.median(rates)
    return {"median": median, "worst": worst, "lost": lost / 1e6, "backlog": peak / 1e6, "rate": rate}


async def stalled(opener: Opener, seconds: float = 4.0) -> dict[str, float]:
    """A reader that stops drawing under `yes`: growth of memory in MB, at half time and at the end."""
    async with opened(opener, 0, None) as client:
        client.drawing.rate = None
        before = client.memory()
        client.write(b"yes\r")
        await asyncio.sleep(seconds / 2)
        half = client.memory()
        await asyncio.sleep(seconds / 2)
        end = client.memory()
        client.write(b"\x03")  # behind tmux the flood would outlive this terminal
        await asyncio.sleep(0.5)
    return {"half": (half - before) / 1e6, "growth": (end - before) / 1e6}


async def opening(opener: Opener, times: int = 5) -> dict[str, float]:
    """Milliseconds from nothing to the prompt."""
    results = []
    for _ in range(times):
        start = time.perf_counter()
        async with opened(opener):
            results.append((time.perf_counter() - start) * 1000)
    return {"median": statistics.median(results)}
