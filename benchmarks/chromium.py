"""The terminal's real page in a real Chromium: `python -m benchmarks.chromium [--rounds 3] [--json FILE]`.

`benchmarks.terminal` models a browser that draws 10 MB/s; this confirms the model with the product's own
page, behind tmux over a real sshd. Each round has OpenSSH's client at the same tmux, and the ratio to it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from benchmarks import measures
from benchmarks.clients import Client, OpenSsh
from jobs.remote.layout import Layout
from tests.browser.conftest import ARGUMENTS
from tests.browser.terminal_page import CHROMIUM, new_context, open_terminal, run, shows
from tests.support.sshd import Sshd
from tests.support.terminal_server import TerminalServer

SHELL = "exec env PS1='BENCH> ' bash --norc --noprofile -i"
FLOODS = {"yes": b"yes\r", "lines": measures.FLOOD}
# Types keys one by one; resolves to the milliseconds until each was read, parsed and in the buffer.
ECHO = """async keys => {
  const {term} = document.getElementById("terminal").offload;
  const pause = ms => new Promise(done => setTimeout(done, ms));
  const times = [];
  for (let n = 0; n < keys; n++) {
    const from = term.buffer.active.cursorX;
    const start = performance.now();
    await new Promise(done => {
      const parsed = term.onWriteParsed(() => {
        if (term.buffer.active.cursorX === from) return;
        parsed.dispose();
        done();
      });
      term.input("x");
    });
    times.push(performance.now() - start);
    if (n % 30 === 29) { term.input("\\x15"); await pause(200); }
    await pause(3);
  }
  return times;
}"""
# Interrupts a flood; resolves to the milliseconds until the prompt is drawn, and what piled up before.
INTERRUPT = """async flood => {
  const {term, drawing} = document.getElementById("terminal").offload;
  const pause = ms => new Promise(done => setTimeout(done, ms));
  const line = () => term.buffer.active.getLine(term.buffer.active.baseY + term.buffer.active.cursorY);
  term.input(flood);
  let backlog = 0;
  const received = drawing.received;
  const end = performance.now() + 800;
  while (performance.now() < end) {
    backlog = Math.max(backlog, drawing.backlog);
    await pause(2);
  }
  const rate = (drawing.received - received) / 0.8e6;
  const start = performance.now();
  term.input("\\x03");
  while (!line()?.translateToString(true).startsWith("BENCH>")) {
    if (performance.now() - start > 30000) throw new Error("no prompt after Ctrl-C");
    await new Promise(done => { const parsed = term.onWriteParsed(() => { parsed.dispose(); done(); });
                                setTimeout(done, 5); });
  }
  const took = performance.now() - start;
  await pause(300);
  return {took, backlog, rate};
}"""


def in_chromium(page: Page) -> dict[str, dict[str, float]]:
    """Measure the page once."""
    run(page, "clear; echo rea''dy")
    shows(page, "ready")
    times = sorted(page.evaluate(ECHO, 150))
    found: dict[str, dict[str, float]] = {
        "echo": {"p50": times[len(times) // 2], "p95": times[int(len(times) * 0.95)]}
    }
    run(page, "")
    for name, flood in FLOODS.items():
        each = [page.evaluate(INTERRUPT, flood.decode()) for _ in range(5)]
        found[name] = {
            "median": statistics.median(one["took"] for one in each),
            "worst": max(one["took"] for one in each),
            "backlog": max(one["backlog"] for one in each) / 1e6,
            "rate": statistics.median(one["rate"] for one in each),
        }
    return found


async def in_openssh(sshd: Sshd, command: list[str]) -> dict[str, dict[str, float]]:
    """Measure OpenSSH's client at the same tmux once, with a terminal that draws 10 MB/s."""

    async def opener(_: int, rate: float | None) -> Client:
        return OpenSsh(sshd, command, rate)

    found = {"echo": await measures.echo(opener)}
    for name, flood in FLOODS.items():
        found[name] = await measures.interrupt(opener, flood)
    return found


def measure(rounds: int) -> list[dict[str, Any]]:
    """Return each round's figures of both."""
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="offload-bench-") as name, Sshd(Path(name) / "sshd") as sshd:
        config = {
            "host": "127.0.0.1", "port": sshd.port, "user": sshd.endpoint().user, "key": str(sshd.client_key),
            "known_hosts": str(sshd.known_hosts),
        }  # fmt: skip
        with (
            TerminalServer(provider="ssh", config=config, sessions=2, shell=SHELL) as server,
            sync_playwright() as playwright,
            ThreadPoolExecutor(1) as other_loop,  # Playwright's own loop runs in this thread
        ):
            tmux = Layout(str(server.root), server.socket_name).attach_argv(server.sessions[1])
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            page = open_terminal(new_context(browser, server), server)
            for number in range(rounds):
                results.append(
                    {
                        "openssh": other_loop.submit(asyncio.run, in_openssh(sshd, tmux)).result(),
                        "chromium": in_chromium(page),
                    }
                )
                print(f"  round {number + 1} of {rounds}", file=sys.stderr)
            browser.close()
    return results


def table(results: list[dict[str, Any]]) -> str:
    """Return the medians over rounds, and the ratios within rounds, as a Markdown table."""
    lines = ["| | Chromium | OpenSSH | ratio |", "|---|---|---|---|"]
    for label, part, key, unit in (
        ("echo p50, read and parsed", "echo", "p50", "ms"),
        ("Ctrl-C under `yes`, median", "yes", "median", "ms"),
        ("Ctrl-C under `yes`, worst", "yes", "worst", "ms"),
        ("Ctrl-C under whole lines, median", "lines", "median", "ms"),
        ("Ctrl-C under whole lines, worst", "lines", "worst", "ms"),
        ("backlog under whole lines", "lines", "backlog", "MB"),
        ("drawn under whole lines", "lines", "rate", "MB/s"),
    ):
        ours, theirs = ([one[side][part][key] for one in results] for side in ("chromium", "openssh"))
        ratio = statistics.median(a / max(b, 1e-9) for a, b in zip(ours, theirs, strict=True))
        figures = (f"{statistics.median(values):.3g} {unit}" for values in (ours, theirs))
        lines.append(f"| {label} | {' | '.join(figures)} | {ratio:.2f}x |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="keep the results in this file")
    options = parser.parse_args()
    results = measure(options.rounds)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
