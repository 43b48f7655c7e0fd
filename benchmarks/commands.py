"""How quick the command line is: `python -m benchmarks.commands [--rounds 9] [--json]`.

Ratios in one run, interleaved, medians: `offload status` from a cold start against a Python process that
only sets Django up; re-attaching by the main command against `tmux attach` itself. Targets: under 1.0 s
and 1.5 s on a quiet machine.
"""

from __future__ import annotations

import json
import os
import pty
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.report import report

ROOT = Path(__file__).resolve().parents[1]
MANAGE = [sys.executable, str(ROOT / "manage.py")]
DEADLINE = 60.0
SCREEN = b"offload-shop-1-open"  # tmux's status line: the session is on the screen


def run(argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> float:
    """Run a command to its end; return seconds."""
    start = time.perf_counter()
    subprocess.run(argv, env=dict(env), cwd=cwd, check=True, capture_output=True, timeout=DEADLINE)
    return time.perf_counter() - start


def until_screen(argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> float:
    """Run a command on a terminal; return the seconds until the session's screen is there."""
    start = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.execvpe(argv[0], list(argv), dict(env))
    seen = b""
    while SCREEN not in seen:
        ready, _, _ = select.select([terminal], [], [], DEADLINE)
        if not ready:
            raise SystemExit(f"{argv[0]} showed no session; it said {seen[-500:]!r}")
        seen += os.read(terminal, 65536)
    seconds = time.perf_counter() - start
    _detach(pid, terminal)
    return seconds


def _detach(pid: int, terminal: int) -> None:
    """Detach as a person does: once more when nothing happens."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        os.write(terminal, b"\x02d")
        pause = time.monotonic() + 1
        while time.monotonic() < pause:
            if not select.select([terminal], [], [], 0.05)[0]:
                continue
            try:
                data = os.read(terminal, 65536)
            except OSError:
                data = b""
            if not data:
                os.waitpid(pid, 0)
                os.close(terminal)
                return
    raise SystemExit("The session did not let go.")


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Return medians in seconds, and their ratio, by name."""
    with tempfile.TemporaryDirectory(prefix="offload-bench-") as folder:
        home = Path(folder)
        shop = home / "shop"
        env = {**os.environ, "OFFLOAD_HOME": str(home / "home"), "TERM": "xterm-256color"}
        commit = [
            "git",
            "-c",
            "user.name=b",
            "-c",
            "user.email=b@example.org",
            "commit",
            "-q",
            "--allow-empty",
        ]
        subprocess.run(["git", "init", "-q", str(shop)], check=True)
        subprocess.run([*commit, "-m", "one"], cwd=shop, check=True)
        subprocess.run(["git", "update-ref", "refs/pull/1/head", "HEAD"], cwd=shop, check=True)
        launch = [*MANAGE, "offload", "1", "open", "--repo", str(shop)]
        try:
            subprocess.run([*launch, "--detach"], env=env, check=True, capture_output=True)
            status = [*MANAGE, "offload", "status", "1", "--repo", str(shop), "--json"]
            told = subprocess.run(status, env=env, check=True, capture_output=True).stdout
            by_hand = json.loads(told)["job"]["attach"].split()
            django = [sys.executable, "-c", "import django; django.setup()"]
            setup = {**env, "DJANGO_SETTINGS_MODULE": "offload_web.settings"}
            pairs: dict[str, tuple[Callable[[], float], Callable[[], float]]] = {
                "status": (lambda: run(status, env, ROOT), lambda: run(django, setup, ROOT)),
                "re-attach": (
                    lambda: until_screen(launch, env, ROOT),
                    lambda: until_screen(by_hand, env, ROOT),
                ),
            }
            times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in pairs}
            for _ in range(rounds):
                for name, (ours, baseline) in pairs.items():
                    times[name][0].append(ours())
                    times[name][1].append(baseline())
        finally:
            subprocess.run(
                [*MANAGE, "offload", "rm", "1", "--repo", str(shop), "--yes"], env=env, check=False
            )
    return {
        name: {
            "seconds": statistics.median(ours),
            "baseline": statistics.median(base),
            "ratio": statistics.median(a / b for a, b in zip(ours, base, strict=True)),
        }
        for name, (ours, base) in times.items()
    }


def main() -> None:
    """Measure and print."""
    report(
        __doc__,
        measure,
        lambda name, row: (
            f"{name:<10} {row['seconds']:.2f} s   baseline {row['baseline']:.2f} s   x{row['ratio']:.1f}"
        ),
    )


if __name__ == "__main__":
    main()
