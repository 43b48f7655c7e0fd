"""Processes that try to outlive their task, on a bare worker: none does."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from jobs.remote.offload_runner.engine.process import identity
from jobs.remote.offload_runner.protocol import Task
from tests.support.runner_root import SESSION, RunnerRoot, wait_for

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

# Each leaves a process that sleeps for $N seconds, a number that no other process has.
_ESCAPES = {
    "background": "sleep $N & true",
    "own session": "setsid sleep $N & true",
    "double fork without variables": "(env -i setsid sh -c 'sleep '$N' & exit' &) ; sleep 0.2",
    "deaf to SIGTERM": (
        "(trap '' TERM HUP INT; setsid sh -c \"trap '' TERM; sleep $N; sleep $N\" &) ; sleep 0.2"
    ),
    "first thread ended": (
        "env -i setsid python3 -c 'if True:\n import ctypes, threading, time\n"
        " threading.Thread(target=time.sleep, args=('$N',)).start()\n"
        " ctypes.CDLL(None).syscall(60, 0)' & sleep 0.5"
    ),
    "respawning": (
        "cat > r.sh <<'END'\n(sleep $N) & wait; setsid sh r.sh $N &\nEND\nsetsid sh r.sh & sleep 0.2"
    ),
    "holds the output": "setsid sh -c 'exec sleep '$N </dev/null & true",
    "stopped": "setsid sh -c 'kill -STOP $$; sleep '$N & sleep 0.2",
}


def left(number: int) -> list[str]:
    """Return the command lines that hold a number."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(str(number).encode() in word for word in words):
                found.append(repr(words))
    return found


@pytest.mark.parametrize("escape", sorted(_ESCAPES))
def test_nothing_outlives_its_task(root: RunnerRoot, escape: str) -> None:
    number = 400_000 + os.getpid() % 100_000 * 10 + sorted(_ESCAPES).index(escape)
    root.job([Task("a", "A", shell=_ESCAPES[escape].replace("$N", str(number)))])
    began = time.monotonic()
    assert root.run().returncode == 0
    assert left(number) == []
    assert root.outcomes() == {"a": "succeeded"}
    assert time.monotonic() - began < 40


def test_a_cancelled_task_is_gone_when_that_is_said(root: RunnerRoot) -> None:
    number = 400_000 + os.getpid() % 100_000 * 10 + 9
    shell = f"env -i setsid sh -c 'trap \"\" TERM; sleep {number}' & echo begun; sleep {number}"
    root.job([Task("a", "A", shell=shell)])
    runner = root.spawn_run()
    wait_for(lambda: "begun" in root.log("a") and len(left(number)) >= 2)
    root.lines("stop", "--session", "offload-demo-1-review", "--grace", "0.2")
    assert left(number) == []
    runner.wait(20)


def test_the_tasks_of_a_killed_runner_end_with_it(root: RunnerRoot) -> None:
    number = 400_000 + os.getpid() % 100_000 * 10 + 8
    root.job([Task("a", "A", shell=f"env -i setsid sleep {number} & echo begun; sleep {number}")])
    runner = root.spawn_run()
    wait_for(lambda: "begun" in root.log("a") and len(left(number)) >= 2)
    runner.send_signal(signal.SIGKILL)
    runner.wait(20)
    wait_for(lambda: not left(number))


def test_a_lock_that_names_another_process_does_not_end_it(root: RunnerRoot) -> None:
    """On a bare worker the job can write the file; who holds the lock is the kernel's word."""
    victim = subprocess.Popen(["sleep", "300"])
    try:
        name = json.dumps({"pid": victim.pid, "identity": identity(victim.pid)})
        write = f"echo {shlex.quote(name)} > {root.path}/jobs/{SESSION}/run.lock; echo written; sleep 300"
        root.job([Task("a", "A", shell=write)])
        runner = root.spawn_run()
        wait_for(lambda: "written" in root.log("a"))
        [answer] = [line for line in root.lines("stop", "--session", SESSION) if line["type"] == "stopped"]
        assert (answer["was_running"], answer["processes"]) == (True, 0)
        assert runner.wait(10) is not None
        assert victim.poll() is None
        assert root.events()[-1]["state"] == "cancelled"
    finally:
        victim.kill()
        victim.wait()
