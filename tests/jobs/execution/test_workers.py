"""What is reached of a worker: files in and out, the side shell, and what a launch costs."""

import os
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

from jobs import execution, workers
from jobs.errors import NotFound, Refused, UsageError
from jobs.models import Job
from jobs.transport import pool
from jobs.transport.base import Transport
from tests.jobs.execution.base import ExecutionTest, until


class Screen:
    """A receiver that keeps what it hears."""

    def __init__(self) -> None:
        self.data = b""
        self.ended: list[tuple[int | None, Exception | None]] = []

    def data_received(self, data: bytes) -> None:
        self.data += data

    def closed(self, exit_status: int | None, error: Exception | None) -> None:
        self.ended.append((exit_status, error))


class Files(ExecutionTest):
    async def test_files_go_in_and_come_out_exactly(self) -> None:
        job = await self.run_job()
        data = os.urandom(300_000)
        name = await workers.upload_file(job.id, "photo.png", data)
        self.assertEqual(await workers.download_file(job.id, name), data)
        again = await workers.upload_file(job.id, "photo.png", b"other")
        self.assertEqual((name, again), ("photo.png", "photo-2.png"))
        self.assertEqual(await workers.download_file(job.id, name), data, "nothing was overwritten")

    async def test_files_stay_inside_the_worktree(self) -> None:
        job = await self.run_job()
        (Path(job.worktree) / "out").symlink_to("/etc/passwd")
        (Path(job.worktree) / "up").symlink_to("/etc")
        for path in ("/etc/passwd", "../../secret", "out", "up/passwd", "..", ""):
            with self.subTest(path), self.assertRaises((Refused, NotFound)):
                await workers.download_file(job.id, path)
        for name in ("../x", "a/b", "", ".", "..", "x\0y", "n" * 300):
            with self.subTest(name), self.assertRaises(UsageError):
                await workers.upload_file(job.id, name, b"x")
        before = Path("/etc/passwd").read_bytes()
        self.assertEqual(await workers.upload_file(job.id, "out", b"not written through the link"), "out-2")
        self.assertEqual(Path("/etc/passwd").read_bytes(), before)
        self.assertEqual(await workers.upload_file(job.id, "--limit", b"x"), "--limit")
        fifo = Path(job.worktree) / "fifo"
        os.mkfifo(fifo)
        with self.assertRaises(Refused):
            await workers.download_file(job.id, "fifo")

    async def test_a_directory_that_is_exchanged_meanwhile_leads_nowhere(self) -> None:
        job = await self.run_job()
        top, secret = Path(job.worktree), self.tmp / "secret"
        for folder, text in ((top / "place", "mine"), (secret, "the host's")):
            folder.mkdir()
            (folder / "file").write_text(text)
        (top / "link").symlink_to(secret)
        done = threading.Event()

        def exchange() -> None:
            while not done.is_set():
                for old, new in (("place", "kept"), ("link", "place"), ("place", "link"), ("kept", "place")):
                    os.rename(top / old, top / new)

        thread = threading.Thread(target=exchange)
        thread.start()
        read = set()
        try:
            for _ in range(12):
                with suppress(NotFound, Refused):
                    read.add(await workers.download_file(job.id, "place/file"))
        finally:
            done.set()
            thread.join()
        self.assertLessEqual(read, {b"mine"})


class Terminals(ExecutionTest):
    async def test_a_side_shell_is_in_the_worktree_and_goes_with_the_job(self) -> None:
        job = await self.run_job()
        screen = Screen()
        pty = await workers.open_terminal(
            workers.TerminalRequest(job.id, kind="shell"), screen, workers.Size(100, 30)
        )
        pty.write(b"pwd; echo mark-$((40+2))\n")
        await until(lambda: b"mark-42" in screen.data)
        self.assertIn(os.path.basename(job.worktree).encode(), screen.data)
        info = await workers.read_session(job.id, "shell")
        self.assertEqual((info.size.columns, len(info.viewers)), (100, 1))
        await pty.aclose()
        await execution.remove(job.id, force=True)
        with self.assertRaises(NotFound):
            await workers.read_session(job.id, "shell")

    async def test_an_unknown_terminal_type_is_replaced(self) -> None:
        job = await self.run_job()
        for term in ("xterm-ghostty", "xterm-kitty", "dumb", "", "vt220"):
            with self.subTest(term):
                screen = Screen()
                request = workers.TerminalRequest(job.id, kind="shell", term=term)
                pty = await workers.open_terminal(request, screen, workers.Size(80, 24))
                pty.write(b"echo mark-$((40+2))\n")
                await until(lambda: b"mark-42" in screen.data)  # noqa: B023 - awaited in this round
                await pty.aclose()

    async def test_a_queued_job_has_no_terminal_yet(self) -> None:
        job = await self.submit("1")
        with self.assertRaises(Refused):
            await workers.open_terminal(workers.TerminalRequest(job.id), Screen(), workers.Size(80, 24))

    async def test_history_is_what_scrolled_away(self) -> None:
        job = await self.run_job("1", action="open")
        screen = Screen()
        pty = await workers.open_terminal(workers.TerminalRequest(job.id), screen, workers.Size(80, 24))
        pty.write(b"for i in $(seq 200); do echo line-$i-end; done\n")
        await until(lambda: b"line-200-end" in screen.data)
        await until(lambda: self._history_has(job, b"line-3-end"))
        history = (await workers.read_session(job.id)).history
        self.assertNotIn(b"line-200-end", history)
        await pty.aclose()

    async def _history_has(self, job: Job, text: bytes) -> bool:
        return text in (await workers.read_session(job.id)).history


class Counting:
    """A transport that counts what crosses it."""

    def __init__(self, inner: Transport, trips: list[Sequence[str]]) -> None:
        self.inner = inner
        self.trips = trips

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def run(self, argv: Sequence[str], **options: Any) -> Any:
        self.trips.append(argv)
        return await self.inner.run(argv, **options)

    async def spawn(self, argv: Sequence[str], **options: Any) -> Any:
        self.trips.append(argv)
        return await self.inner.spawn(argv, **options)

    async def put(self, path: str, data: bytes, **options: Any) -> None:
        self.trips.append(["put", path])
        await self.inner.put(path, data, **options)


class RoundTrips(ExecutionTest):
    async def test_a_launch_costs_two_once_the_runner_is_there(self) -> None:
        await self.run_job("1")
        self.shop.pull(2, {"app.txt": "two\n"})
        trips: list[Sequence[str]] = []
        borrow = pool.borrow

        @asynccontextmanager
        async def counted(endpoint: Any) -> AsyncIterator[Any]:
            async with borrow(endpoint) as transport:
                yield Counting(transport, trips)

        job = await self.submit("2")
        with mock.patch.object(pool, "borrow", counted):
            await execution.launch(job.id)
        self.assertEqual(len(trips), 2, [list(argv)[:6] for argv in trips])
        await execution.wait(job.id, timeout=60)
