"""What a review costs next to its commands: `python -m benchmarks.playbook [--rounds 3] [--json]`.

Each round reviews two pull requests of one base in a fresh home, and types the commands of the second one's
plan one after the other in two fresh clones: the head's, the base's set-up, and the changed tests on both.
All figures are ratios within a round, medians over the rounds:

- `sequence`: from the start of a plan to its verdict, over the time of its commands typed in sequence;
- `critical path`: the same over the longest chain of its tasks;
- `second`: the second pull request over the first, from the command line's start to its end;
- `overhead`: seconds of a plan of trivial tasks: of the plan as a whole, and for each further task.

Package caches are warm in both. Targets: sequence 0.5, critical path 1.10, second 0.33, overhead 0.15 and
0.01 (0.03 in a container).
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.report import report

ROOT = Path(__file__).resolve().parents[1]
_WORK = "sum(i * i for i in range({}))"
_SPAN = 4_000_000  # about 0.4 s of processor time for each test
_TRIVIAL = 20

PYTHON = {
    ".offload/config.toml": "hunks = false\n",
    ".gitignore": ".venv\n__pycache__\n*.egg-info\n",
    "pyproject.toml": '[project]\nname = "shop"\nversion = "1"\ndependencies = ["attrs", "rich"]\n'
    '[project.optional-dependencies]\ntest = ["pytest"]\n[tool.setuptools]\npy-modules = ["shop"]\n'
    '[tool.pytest.ini_options]\npythonpath = ["."]\n',
    "shop.py": "def price():\n    return 1\n",
    "tests/test_work.py": "".join(
        f"def test_{n}():\n    assert {_WORK.format(_SPAN)}\n\n\n" for n in range(12)
    ).rstrip("\n")
    + "\n",
}
PYTHON_CHANGE = {
    "shop.py": "def price():\n    return {}\n",
    "tests/test_price.py": "import shop\n\n\ndef test_price():\n    assert shop.price() == {}\n",
}
NODE = {
    ".offload/config.toml": "hunks = false\n",
    ".gitignore": "node_modules\n",
    "package.json": '{"name": "shop", "version": "1.0.0", "scripts": {"test": "node --test test/"},'
    ' "dependencies": {"semver": "7.6.3"}, "devDependencies": {"acorn": "8.14.0"}}\n',
    "shop.js": "exports.price = () => 1;\n",
    "test/work.test.js": "const test = require('node:test');\nconst assert = require('node:assert');\n"
    + "".join(
        f"test('work {n}', () => {{ let s = 0; for (let i = 0; i < 4e8; i++) s += i; assert(s); }});\n"
        for n in range(12)
    ),
}
NODE_CHANGE = {
    "shop.js": "exports.price = () => {};\n",
    "test/price.test.js": "const test = require('node:test');\nconst assert = require('node:assert');\n"
    "test('price', () => assert.strictEqual(require('../shop').price(), {}));\n",
}
TRIVIAL = {".offload/config.toml": "", "a.txt": "1\n"}


@dataclass(frozen=True)
class Review:
    """A finished review: the seconds that its command took, its journal and its plan."""

    seconds: float
    events: list[dict[str, Any]]
    plan: dict[str, Any]

    @property
    def makespan(self) -> float:
        """Return the seconds from the start of the plan to its end."""
        started = next(event for event in self.events if event["kind"] == "started")
        return (_moment(self.events[-1]) - _moment(started)).total_seconds()

    @property
    def critical_path(self) -> float:
        """Return the seconds of the longest chain of tasks."""
        took = {
            event["task"]: event["seconds"] or 0.0
            for event in self.events
            if event["kind"] == "task_finished"
        }
        ends: dict[str, float] = {}
        for task in self.plan["tasks"]:  # a task comes after what it needs
            before = max((ends[need] for need in task["needs"]), default=0.0)
            ends[task["id"]] = before + took.get(task["id"], 0.0)
        return max(ends.values())


def _moment(event: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(event["at"].replace("Z", "+00:00"))


class Desk:
    """A home of Offload's own with a repository."""

    def __init__(self, place: Path, files: Mapping[str, str]) -> None:
        self.place = place
        self.root = place / "worker"
        self.shop = place / "shop"
        self.env = {
            **os.environ,
            "OFFLOAD_HOME": str(place / "home"),
            "OFFLOAD_WORKER_ROOT": str(self.root),
        }
        self._git("init", "--quiet", "--initial-branch=main", str(self.shop), cwd=place)
        self._commit(files)

    def pull(self, number: int, files: Mapping[str, str]) -> None:
        """Make pull request `number`, one commit on the base."""
        self._git("checkout", "--quiet", "--detach", "main")
        self._commit(files)
        self._git("update-ref", f"refs/pull/{number}/head", "HEAD")
        self._git("checkout", "--quiet", "main")

    def review(self, number: int) -> Review:
        """Review a pull request to its end."""
        words = ["offload", str(number), "review", "--repo", str(self.shop), "--wait", "--json"]
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *words],
            env=self.env, cwd=self.place, capture_output=True, text=True, check=False,
        )  # fmt: skip
        seconds = time.monotonic() - began
        if done.returncode not in (0, 20):
            raise SystemExit(f"The review ended with {done.returncode}:\n{done.stderr}")
        job = self.root / "jobs" / json.loads(done.stdout)["job"]["session"]
        lines = (job / "events.jsonl").read_text().splitlines()
        return Review(
            seconds, [json.loads(line) for line in lines], json.loads((job / "plan.json").read_text())
        )

    def typed(self, plan: Mapping[str, Any], number: int) -> float:
        """Type the commands of a plan in two clones, one after the other; return the seconds."""
        trees = {name: self.place / f"typed-{name}" for name in ("head", "base")}
        for name, ref in (("head", f"refs/pull/{number}/head"), ("base", "main")):
            self._git("clone", "--quiet", str(self.shop), str(trees[name]), cwd=self.place)
            self._git("fetch", "--quiet", "origin", ref, cwd=trees[name])
            self._git("checkout", "--quiet", "FETCH_HEAD", cwd=trees[name])
        tasks = {task["role"]: task for task in plan["tasks"]}
        steps: list[tuple[str, str, list[str]]] = [
            ("head", task["shell"], []) for task in plan["tasks"] if task["shell"]
        ]
        steps += [("base", line, []) for line in tasks["base"]["outputs"]["setup"]]
        for group in tasks["proof"]["outputs"]["proof"]:
            steps += [(name, group["shell"], group["test_files"]) for name in ("base", "head")]
            for file in group["test_files"]:
                text = (trees["head"] / file).read_text()
                (trees["base"] / file).write_text(text)
        env = {**self.env, "OFFLOAD_RESULTS": str(self.place / "results"), "HOME": str(self.place)}
        env.update(UV_CACHE_DIR=str(self.root / "cache/uv"), PIP_CACHE_DIR=str(self.root / "cache/pip"))
        env.update(npm_config_cache=str(self.root / "cache/npm"), UV_LINK_MODE="copy", CI="1")
        began = time.monotonic()
        for name, line, arguments in steps:
            words = ["/bin/sh", "-c", line.replace("{python}", sys.executable), "sh", *arguments]
            done = subprocess.run(
                words, cwd=trees[name], env=env, capture_output=True, text=True, check=False
            )
            if done.returncode and not (arguments and name == "base"):
                raise SystemExit(f"`{line}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return time.monotonic() - began

    def close(self) -> None:
        """End the tmux server of the worker."""
        for socket in (self.root / "tmux").glob("*.sock"):
            subprocess.run(["tmux", "-S", str(socket), "kill-server"], capture_output=True, check=False)

    def _commit(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.shop / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self._git("add", "--all")
        self._git(
            "-c", "user.name=Mira", "-c", "user.email=mira@example.org", "commit", "--quiet", "-m", "Change"
        )

    def _git(self, *words: str, cwd: Path | None = None) -> None:
        subprocess.run(["git", *words], cwd=cwd or self.shop, check=True, capture_output=True)


@contextmanager
def desk(files: Mapping[str, str]) -> Iterator[Desk]:
    """Give a desk, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="offload-bench-", ignore_cleanup_errors=True) as place:
        found = Desk(Path(place), files)
        try:
            yield found
        finally:
            found.close()


def project(files: Mapping[str, str], change: Mapping[str, str]) -> dict[str, float]:
    """Return the ratios of one round with a project."""
    with desk(files) as at:
        for number in (1, 2):
            at.pull(number, {name: text.replace("{}", str(number + 1)) for name, text in change.items()})
        first, second = at.review(1), at.review(2)
        typed = at.typed(second.plan, 2)
        return {
            "sequence": second.makespan / typed,
            "critical path": second.makespan / second.critical_path,
            "second": second.seconds / first.seconds,
            "seconds": second.makespan,
        }


def overhead() -> dict[str, float]:
    """Return the seconds of a plan of trivial tasks: of the plan, and for each further task."""
    found = []
    for count in (1, _TRIVIAL):
        tasks = "".join(f'[[tasks]]\nid = "t{n}"\nshell = "true"\n' for n in range(count))
        with desk({**TRIVIAL, ".offload/config.toml": f"hunks = false\nparallel = 1\n{tasks}"}) as at:
            at.pull(1, {"a.txt": "2\n"})
            review = at.review(1)
            own = {task["id"] for task in review.plan["tasks"] if not task["shell"]}
            steps = [e["seconds"] for e in review.events if e["kind"] == "task_finished" and e["task"] in own]
            found.append(review.makespan - sum(steps))
    task = (found[1] - found[0]) / (_TRIVIAL - 1)
    return {"plan": found[0] - task, "task": task}


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Return the medians of all figures by project."""
    projects = {"python": (PYTHON, PYTHON_CHANGE)}
    if shutil.which("node") and shutil.which("npm"):
        projects["node"] = (NODE, NODE_CHANGE)
    runs: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for name, (files, change) in projects.items():
            runs.setdefault(name, []).append(project(files, change))
        runs.setdefault("overhead", []).append(overhead())
    return {
        name: {key: statistics.median(run[key] for run in found) for key in found[0]}
        for name, found in runs.items()
    }


def main() -> None:
    """Measure and print."""
    report(
        __doc__,
        measure,
        lambda name, row: f"{name:<10} " + "  ".join(f"{key} {value:.3f}" for key, value in row.items()),
        rounds=3,
    )


if __name__ == "__main__":
    main()
