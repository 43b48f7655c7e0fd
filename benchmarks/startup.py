"""What starting the command line costs: `python -m benchmarks.startup [--rounds 9] [--json]`.

Processor time (user and system) of whole processes, interleaved in one run, medians, and their ratio to
`python -c "import django"`, which depends less on the machine than seconds do. Targets on a quiet machine:
`--help` and `ls` under 0.35 s, a completion under 0.15 s.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.report import report

ROOT = Path(__file__).resolve().parents[1]
MANAGE = [sys.executable, str(ROOT / "manage.py"), "offload"]
BASELINE = "import django"
COMMANDS: Mapping[str, Sequence[str]] = {
    BASELINE: [sys.executable, "-c", "import django"],
    "--help": [*MANAGE, "--help"],
    "completion": [*MANAGE, "__complete", "st"],
    "ls": [*MANAGE, "ls"],
}


def cpu_seconds(argv: Sequence[str], env: Mapping[str, str]) -> float:
    """Run a command to its end; return the seconds of processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, env=dict(env), cwd=ROOT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Return the median seconds of each command, and the median of its ratio to the baseline."""
    with tempfile.TemporaryDirectory(prefix="offload-bench-") as home:
        env = {**os.environ, "OFFLOAD_HOME": home}
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed Offload has its bytecode
        cpu_seconds(COMMANDS["ls"], env)  # makes the database
        times: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for _ in range(rounds):
            for name, argv in COMMANDS.items():
                times[name].append(cpu_seconds(argv, env))
    return {
        name: {
            "seconds": statistics.median(found),
            "ratio": statistics.median(a / b for a, b in zip(found, times[BASELINE], strict=True)),
        }
        for name, found in times.items()
    }


def main() -> None:
    """Measure and print."""
    report(__doc__, measure, lambda name, row: f"{name:<14} {row['seconds']:.3f} s   x{row['ratio']:.1f}")


if __name__ == "__main__":
    main()
