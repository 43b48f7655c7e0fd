"""What an open wall costs: `python -m benchmarks.wall [--rounds 3] [--json]`.

Forty sessions on one worker behind a real sshd; twelve print each second. Processor time of the web process
and of all on the worker (sessions, tmux, the stream), for walls that show none, some and all of them; the
streams of the worker; messages and bytes a second.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.report import report
from tests.support.offload_home import processes_under
from tests.support.sshd import Sshd
from tests.support.terminal_server import TerminalServer
from tests.support.websocket import WebSocket

SESSIONS, VISIBLE = 40, 6
SECONDS = 10.0
TICKS = os.sysconf("SC_CLK_TCK")
QUIET = "exec sleep 1000"
BUSY = "while sleep 1; do date; seq 20; done"  # of the first VISIBLE and as many others


def spent(pids: Sequence[int]) -> float:
    """Return the processor seconds that processes and their ended children have used."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(field) for field in fields[11:15])
    return total / TICKS


def streams(root: Path) -> int:
    """Return how many streams of screens run on the worker."""
    found = 0
    for pid in processes_under(str(root)):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        found += b"screens" in words and b"python" in os.path.basename(words[0])
    return found


async def look(server: TerminalServer, walls: int, shown: Sequence[int]) -> dict[str, float]:
    """Return what `walls` open walls cost that show these sessions, in percent of one core."""
    headers = server.headers()
    path = f"{server.prefix}/ws/wall/"
    sockets = [await WebSocket.connect(server.port, path, headers) for _ in range(walls)]
    counts: Counter[str] = Counter()

    def count(message: bytes | str) -> None:
        counts["messages"] += 1
        counts["bytes"] += len(message)

    for socket in sockets:
        socket.listen(count)
        socket.control("", show=[server.jobs[number] for number in shown])
    await asyncio.sleep(7.0)  # first pictures, and streams of before that linger
    assert server.process is not None
    web = [server.process.pid]
    before = counts.copy()
    worker = [pid for pid in processes_under(str(server.root)) if pid not in web]
    start = time.monotonic()
    at = spent(web), spent(worker)
    await asyncio.sleep(SECONDS)
    took = time.monotonic() - start
    found = {
        "web": 100 * (spent(web) - at[0]) / took,
        "worker": 100 * (spent(worker) - at[1]) / took,
        "streams": float(streams(server.root)),
        "messages": (counts["messages"] - before["messages"]) / took,
        "kilobytes": (counts["bytes"] - before["bytes"]) / took / 1000,
    }
    for socket in sockets:
        await socket.aclose()
    return found


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Return the medians over rounds."""
    first, every = range(VISIBLE), range(SESSIONS)
    cases: Mapping[str, tuple[int, Sequence[int]]] = {
        "no wall": (0, ()),
        "a wall whose tab is hidden": (1, ()),
        f"a wall that shows {VISIBLE} of {SESSIONS}": (1, first),
        f"five walls that show the same {VISIBLE}": (5, first),
        f"a wall that shows all {SESSIONS}": (1, every),
    }
    results: dict[str, list[dict[str, float]]] = {name: [] for name in cases}
    with tempfile.TemporaryDirectory(prefix="offload-bench-") as name, Sshd(Path(name) / "sshd") as sshd:
        config = {
            "host": "127.0.0.1", "port": sshd.port, "user": sshd.endpoint().user, "key": str(sshd.client_key),
            "known_hosts": str(sshd.known_hosts),
        }  # fmt: skip
        shell = "exec bash --noprofile --norc"
        with TerminalServer(provider="ssh", config=config, sessions=SESSIONS, shell=shell) as server:
            for number, session in enumerate(server.sessions):
                text = BUSY if number < 2 * VISIBLE else QUIET
                server.tmux("send-keys", "-t", f"={session}:", text, "Enter")
            for _ in range(rounds):
                for case, (walls, shown) in cases.items():
                    results[case].append(asyncio.run(look(server, walls, shown)))
    return {
        name: {key: statistics.median(one[key] for one in each) for key in each[0]}
        for name, each in results.items()
    }


def line(name: str, row: Mapping[str, float]) -> str:
    """Return a row of a Markdown table."""
    return (
        f"| {name} | {row['web']:.1f} % | {row['worker']:.1f} % | {row['streams']:.0f} "
        f"| {row['messages']:.1f} | {row['kilobytes']:.1f} |"
    )


if __name__ == "__main__":
    report(__doc__, measure, line, rounds=3)
