"""How soon a waiting agent needs a person: `python -m benchmarks.attention [--rounds 9] [--json]`.

From the report of an agent on its own screen that it waits for approval, to the row that every page and the
inbox show, with a reconciler at work; the baseline is the runner's event in the same round. Medians and the
longest, in seconds. Target: 2 s.
"""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.report import report

ROOT = Path(__file__).resolve().parents[1]
MANAGE = [sys.executable, str(ROOT / "manage.py")]
DEADLINE = 60.0
AGENT = "import os, time; open('place', 'w').write(os.environ['OFFLOAD_REPORTS']); time.sleep(1e6)"


def until(what: Callable[[], bool]) -> float:
    """Wait until something holds; return the moment."""
    end = time.perf_counter() + DEADLINE
    while not what():
        if time.perf_counter() > end:
            raise SystemExit(f"Waited {DEADLINE:.0f} s in vain.")
        time.sleep(0.005)
    return time.perf_counter()


def tell(folder: Path, number: int, state: str, detail: str = "") -> float:
    """Report as the agent does; return the moment."""
    draft = folder / f".{number}"
    draft.write_text(json.dumps({"state": state, "detail": detail}))
    draft.rename(folder / f"{number:04}.json")
    return time.perf_counter()


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Return the seconds until the runner's journal and until the job's row say it."""
    with tempfile.TemporaryDirectory(prefix="offload-bench-", ignore_cleanup_errors=True) as folder:
        top, shop = Path(folder), Path(folder) / "shop"
        root = top / "worker"
        agent = shlex.join([sys.executable, "-c", AGENT])
        env = {**os.environ, "OFFLOAD_HOME": str(top / "home"), "OFFLOAD_AGENT_SCREEN": agent}
        env["OFFLOAD_WORKER_ROOT"] = str(root)
        git = ["git", "-c", "user.name=b", "-c", "user.email=b@example.org"]
        subprocess.run(["git", "init", "-q", str(shop)], check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], cwd=shop, check=True)
        subprocess.run(["git", "update-ref", "refs/pull/1/head", "HEAD"], cwd=shop, check=True)
        target = ["1", "open", "--repo", str(shop)]
        launch = [*MANAGE, "offload", *target, "--agent", "generic", "--detach"]
        subprocess.run(launch, env=env, check=True, capture_output=True)
        reconciler = subprocess.Popen([*MANAGE, "reconcile"], env=env, stderr=subprocess.DEVNULL)
        try:
            return _rounds(rounds, top, root)
        finally:
            reconciler.terminate()
            reconciler.wait()
            for words in (["cancel", *target], ["rm", *target, "--force"]):
                subprocess.run([*MANAGE, "offload", *words], env=env, check=False, capture_output=True)


def _rounds(rounds: int, top: Path, root: Path) -> dict[str, dict[str, float]]:
    until(lambda: bool(list(root.glob("worktrees/*/place"))))
    [place] = root.glob("worktrees/*/place")
    [journal] = root.glob("jobs/*/events.jsonl")
    [database] = (path for path in (top / "home").iterdir() if path.name.endswith((".sqlite3", ".db")))
    rows = sqlite3.connect(f"file:{database}?mode=ro", uri=True)

    def needs(attention: str) -> bool:
        return [attention] in [list(row) for row in rows.execute("select attention from jobs_job")]

    until(lambda: place.read_text() != "")
    reports = Path(place.read_text())
    times: dict[str, list[float]] = {"journal": [], "needs you": []}
    for number in range(rounds + 1):
        mark = f"question {number} of the benchmark"
        began = tell(reports, 2 * number + 1, "approval", mark)
        times["journal"].append(until(lambda mark=mark: mark in journal.read_text()) - began)  # type: ignore[misc]
        times["needs you"].append(until(lambda: needs("approval")) - began)
        tell(reports, 2 * number + 2, "thinking")
        until(lambda: needs(""))
    rows.close()
    # The first round also waits for the reconciler to start.
    kept = {name: seconds[1:] for name, seconds in times.items()}
    return {name: {"seconds": statistics.median(own), "most": max(own)} for name, own in kept.items()}


def _line(name: str, row: Mapping[str, float]) -> str:
    return f"{name:<10} {row['seconds']:.2f} s   at most {row['most']:.2f} s"


def main() -> None:
    """Measure and print."""
    report(__doc__, measure, _line)


if __name__ == "__main__":
    main()
