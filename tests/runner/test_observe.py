"""Looking at a job: a runner that starts or ends in the middle of a look is never taken for a dead one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from jobs.remote.offload_runner import protocol
from jobs.remote.offload_runner.engine.journal import Journal
from jobs.remote.offload_runner.engine.observe import Watched
from jobs.remote.offload_runner.engine.run_lock import RunLock, is_held
from jobs.remote.offload_runner.files.paths import JobPaths


@contextmanager
def around_the_lock(actions: Mapping[int, Callable[[], object]]) -> Iterator[None]:
    """Act before (0, 2, ...) and after (1, 3, ...) the looks at the lock that the block takes."""
    moments = count()

    def act(frame: FrameType, event: str, _: Any) -> None:
        if frame.f_code is is_held.__code__ and event in ("call", "return"):
            actions.get(next(moments), int)()

    before = sys.getprofile()
    sys.setprofile(act)
    try:
        yield
    finally:
        sys.setprofile(before)


@pytest.mark.parametrize("start", range(4))
def test_a_start_and_an_end_during_a_look_are_no_death(tmp_path: Path, start: int) -> None:
    for number, end in enumerate(range(start + 1, 6)):
        paths = JobPaths(tmp_path, f"offload-demo-{number}-review")
        paths.job_dir.mkdir(parents=True)
        lock, journal = RunLock(paths.lock), Journal(paths.journal)
        lock.path.touch()

        def begin(lock: RunLock = lock, journal: Journal = journal) -> None:
            assert lock.acquire()
            journal.append(protocol.STARTED)

        def finish(lock: RunLock = lock, journal: Journal = journal) -> None:
            journal.append(protocol.FINISHED, state=protocol.SUCCEEDED)
            lock.release()

        watched = Watched(paths)
        with around_the_lock({start: begin, end: finish}):
            watched.look()
        assert watched.state() != protocol.INTERRUPTED, f"started at {start}, ended at {end}"
        lock.release()


def test_a_runner_that_died_is_seen_at_the_first_look(tmp_path: Path) -> None:
    paths = JobPaths(tmp_path, "offload-demo-1-review")
    paths.job_dir.mkdir(parents=True)
    lock = RunLock(paths.lock)
    assert lock.acquire()
    Journal(paths.journal).append(protocol.STARTED)
    lock.release()
    watched = Watched(paths)
    assert [event["kind"] for event in watched.look()] == [protocol.STARTED]
    assert (watched.alive, watched.state()) == (False, protocol.INTERRUPTED)
