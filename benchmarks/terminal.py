"""The browser terminal against OpenSSH, in one command: `python -m benchmarks.terminal`.

A real sshd on loopback; on one side `ssh -tt` in a terminal, on the other Offload's bridge and web server
with a model of a browser. Rounds are interleaved, ratios are taken within a round, medians over rounds.
`--json FILE` keeps everything; `--quick` makes one short round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks import measures
from benchmarks.clients import Browser, Client, OpenSsh
from jobs.remote.offload_runner.screen.tmux import CONFIG
from tests.support.plain_terminals import PlainTerminals
from tests.support.sshd import Sshd

SHELL = ["env", "PS1=BENCH> ", "bash", "--norc", "--noprofile", "-i"]
Results = dict[str, list[dict[str, float]]]
# (label, measure, key, plain target, tmux target): ratios to OpenSSH; None where there is no target.
ROWS: list[tuple[str, str, str, float | None, float | None]] = [
    ("echo p50, idle", "echo", "p50", 2.0, 1.5),
    ("echo p50, flooding neighbour", "neighbour", "p50", 3.0, 1.5),
    ("bulk ASCII", "ascii", "rate", 1.0, 1.0),
    ("bulk UTF-8", "utf8", "rate", 1.0, 1.0),
    ("Ctrl-C under `yes`, median", "interrupt", "median", 0.4, 0.5),
    ("Ctrl-C under `yes` with whole lines, median", "flooded", "median", 0.4, 0.5),
    ("CPU per MB", "ascii", "cpu", 2.8, None),
    ("open to prompt", "opening", "median", 0.35, 0.35),
]
# Absolute ones, of ours: (label, measure, key, plain target, tmux target, unit)
ABSOLUTE: list[tuple[str, str, str, float | None, float | None, str]] = [
    ("Ctrl-C under `yes`, worst", "interrupt", "worst", 100, 60, "ms"),
    ("Ctrl-C under `yes` with whole lines, worst", "flooded", "worst", 100, 60, "ms"),
    ("output lost", "flooded", "lost", 0, 0, "MB"),
    ("backlog in the browser", "flooded", "backlog", 0.5, 0.3, "MB"),
    ("server memory, reader stalled 4 s", "stalled", "growth", 1.0, 1.0, "MB"),
]


def write_files(directory: Path, size: int) -> tuple[Path, Path]:
    """Make the files that are printed: lines of ASCII, and lines of wide and accented letters."""
    source = random.Random(7)
    lines = ["".join(chr(source.randint(33, 126)) for _ in range(76)) for _ in range(500)]
    wide = ["".join(source.choice("aé漢ß語ñ中ü文ö") for _ in range(40)) for _ in range(500)]
    paths = []
    for name, texts in (("ascii", lines), ("utf8", wide)):
        block = ("\n".join(texts) + "\n").encode()
        path = directory / name
        path.write_bytes(block * (size // len(block) + 1))
        paths.append(path)
    return paths[0], paths[1]


async def run(rounds: int, megabytes: int) -> dict[str, Any]:
    """Measure; return everything as data."""
    found: dict[str, Any] = {"plain": {}, "tmux": {}}
    with tempfile.TemporaryDirectory(prefix="offload-bench-") as name:
        directory = Path(name)
        files = write_files(directory, megabytes * 1_000_000)
        (directory / "tmux.conf").write_text(CONFIG)
        label = f"offload-bench-{os.getpid()}"
        tmux = ["tmux", "-L", label, "-f", str(directory / "tmux.conf")]
        for session in ("a", "b"):
            subprocess.run(
                [*tmux, "new-session", "-d", "-x", "80", "-y", "24", "-s", session, "exec " + " ".join(
                    ["env", "'PS1=BENCH> '", *SHELL[2:]])], check=True)  # fmt: skip
        commands = {
            "plain": [SHELL, SHELL],
            "tmux": [[*tmux, "attach-session", "-t", f"={session}"] for session in ("a", "b")],
        }
        try:
            with Sshd(directory / "sshd") as sshd:
                for where in ("plain", "tmux"):
                    await compare(sshd, commands[where], rounds, files, found[where], where == "plain")
                found["many"] = await many(sshd)
        finally:
            subprocess.run([*tmux, "kill-server"], check=False)
    return found


async def compare(
    sshd: Sshd,
    commands: list[list[str]],
    rounds: int,
    files: tuple[Path, Path],
    found: dict[str, Any],
    exact: bool,
) -> None:
    """Run every measure on both systems, turn by turn."""
    with PlainTerminals(commands, endpoint=vars(sshd.endpoint())) as server:

        async def openssh(job: int, rate: float | None) -> Client:
            return OpenSsh(sshd, commands[job], rate)

        async def offload(job: int, rate: float | None) -> Client:
            return await Browser.open(server, job, rate)

        keeper = await Browser.open(server, 1, 0.0)  # the shared connection is there, as in daily use
        await asyncio.sleep(1.0)
        cases: dict[str, Callable[[measures.Opener], Awaitable[dict[str, float]]]] = {
            "opening": measures.opening,
            "echo": measures.echo,
            "neighbour": measures.echo_beside_flood,
            "ascii": lambda opener: measures.bulk(opener, files[0], exact=exact),
            "utf8": lambda opener: measures.bulk(opener, files[1], exact=exact),
            "interrupt": measures.interrupt,
            "flooded": lambda opener: measures.interrupt(opener, measures.FLOOD),
            "stalled": measures.stalled,
        }
        for number in range(rounds):
            for name, measure in cases.items():
                turn = [("openssh", openssh), ("offload", offload)]
                for system, opener in turn if number % 2 == 0 else reversed(turn):
                    result = await measure(opener)
                    found.setdefault(name, {}).setdefault(system, []).append(result)
                    print(f"  round {number + 1} {name:10} {system:8} {shown(result)}", file=sys.stderr)
        await keeper.aclose()


async def many(sshd: Sshd, count: int = 200) -> dict[str, float]:
    """Open many idle terminals in one server: bytes of memory for each, and echo in all of them."""
    command = ["cat"]
    with PlainTerminals([command], endpoint=vars(sshd.endpoint())) as server:
        warm = [await Browser.open(server, 0, 0.0) for _ in range(10)]
        for client in warm:
            await echoed(client)
        before = server.memory()
        clients = []
        for _ in range(count - len(warm)):
            clients.append(await Browser.open(server, 0, 0.0))
            await echoed(clients[-1])
        after = server.memory()
        everyone = [*warm, *clients]
        together = time.perf_counter()
        times = await asyncio.gather(*(echoed(client) for client in everyone))
        together = time.perf_counter() - together
        alone = [await echoed(client) for client in everyone]
        for client in everyone:
            await client.aclose()
    return {
        "terminals": count,
        "kilobytes_each": (after - before) / len(clients) / 1000,
        "echo_each_worst_ms": max(alone) * 1000,
        "echo_each_p50_ms": statistics.median(alone) * 1000,
        "all_at_once_ms": together * 1000,
        "all_at_once_p50_ms": statistics.median(times) * 1000,
    }


async def echoed(client: Browser) -> float:
    """Type one key and wait for it; return the seconds."""
    client.drawing.watch(b"k")
    start = time.perf_counter()
    client.write(b"k")
    await client.drawing.seen(30)
    return time.perf_counter() - start


def shown(result: dict[str, float]) -> str:
    """Return figures for a line of progress."""
    return " ".join(f"{key}={value:.2f}" for key, value in result.items())


def median(found: dict[str, Any], name: str, system: str, key: str) -> float:
    """Return the median over rounds."""
    return float(statistics.median(one[key] for one in found[name][system]))


def ratio(found: dict[str, Any], name: str, key: str) -> float:
    """Return the median of the rounds' ratios to OpenSSH."""
    pairs = zip(found[name]["offload"], found[name]["openssh"], strict=True)
    return float(statistics.median(ours[key] / max(theirs[key], 1e-9) for ours, theirs in pairs))


def table(found: dict[str, Any]) -> str:
    """Return the results as a Markdown table, each with its target."""
    lines = ["| | plain shell over ssh | behind tmux over ssh |", "|---|---|---|"]
    for label, name, key, *targets in ROWS:
        cells = []
        for where, target in zip(("plain", "tmux"), targets, strict=True):
            part = found[where]
            value = ratio(part, name, key)
            figures = f"{median(part, name, 'offload', key):.3g} / {median(part, name, 'openssh', key):.3g}"
            good = target is None or (value >= target if key == "rate" else value <= target)
            goal = "" if target is None else f", {'≥' if key == 'rate' else '≤'} {target}"
            cells.append(f"{value:.2f}x ({figures}{goal}) {'✓' if good else '✗'}")
        lines.append(f"| {label} | {cells[0]} | {cells[1]} |")
    for label, name, key, plain, tmux, unit in ABSOLUTE:
        cells = []
        for where, target in (("plain", plain), ("tmux", tmux)):
            values = [one[key] for one in found[where][name]["offload"]]
            value = max(values)
            cells.append(
                f"{value:.3g} {unit} (≤ {target}) {'✓' if target is None or value <= target else '✗'}"
            )
        lines.append(f"| {label} | {cells[0]} | {cells[1]} |")
    each = found["many"]
    lines.append(
        f"| memory per idle terminal | {each['kilobytes_each']:.0f} KB (≤ 60) "
        f"{'✓' if each['kilobytes_each'] <= 60 else '✗'} | |"
    )
    lines.append(
        f"| echo, {each['terminals']:.0f} terminals open, worst | {each['echo_each_worst_ms']:.1f} ms (≤ 50) "
        f"{'✓' if each['echo_each_worst_ms'] <= 50 else '✗'}; all typed at once "
        f"{each['all_at_once_ms']:.0f} ms | |"
    )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=32, help="size of the printed files")
    parser.add_argument("--json", type=Path, help="keep the results in this file")
    parser.add_argument("--quick", action="store_true", help="one round, small files")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.megabytes = 1, 8
    found = asyncio.run(run(options.rounds, options.megabytes))
    found["machine"] = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
