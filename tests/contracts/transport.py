"""What every transport promises. A subclass gives the fixture `transport`."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import uuid
from pathlib import Path

import pytest

from jobs.errors import CommandFailed, ConnectionLost, NotFound, TimedOut, TooLarge, UsageError
from jobs.transport.base import Pty, Size, Transport
from tests.support.leaks import Holdings, processes_with, resident_bytes, until

SIZE = Size(80, 24)
NASTY = [
    "",
    " ",
    "two words",
    "'",
    '"',
    "$HOME",
    "`id`",
    "\\",
    "\n",
    "a\nb",
    "\t",
    "*",
    "~",
    "!x",
    "é漢😀",
    "-n",
    "--",
    "a=b",
    "#",
    ";",
    "|&<>(){}[]",
    "\x01\x7f",
    "%s",
    "\\001",
]


class Recorder:
    """A receiver that keeps everything."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ends: list[tuple[int | None, Exception | None]] = []
        self.late = 0
        self.calls = 0

    def data_received(self, data: bytes) -> None:
        self.late += bool(self.ends)
        self.calls += 1
        self.data += data

    def closed(self, exit_status: int | None, error: Exception | None) -> None:
        self.ends.append((exit_status, error))

    async def sees(self, text: bytes) -> None:
        try:
            await until(lambda: text in self.data, repr(text), 10.0)
        except AssertionError as error:
            raise AssertionError(f"{error}; ends {self.ends}, data {bytes(self.data[-1000:])!r}") from None


def unique_seconds() -> str:
    """A duration for `sleep` that no other process has."""
    return f"{3000 + uuid.uuid4().int % 10**6}.{uuid.uuid4().int % 10**9}"


class TransportContract:
    # Commands

    async def test_exact_bytes_both_ways(self, transport: Transport) -> None:
        data = os.urandom(8 * 1024 * 1024)
        done = await transport.run(["cat"], input=data)
        assert (done.exit_status, done.stderr) == (0, b"")
        assert done.stdout == data

    async def test_stderr_is_kept_apart(self, transport: Transport) -> None:
        done = await transport.run(["sh", "-c", "echo out; echo err >&2"])
        assert (done.stdout, done.stderr) == (b"out\n", b"err\n")

    @pytest.mark.parametrize("status", [1, 2, 77, 255])
    async def test_exit_status(self, transport: Transport, status: int) -> None:
        done = await transport.run(["sh", "-c", f"exit {status}"], check=False)
        assert done.exit_status == status

    async def test_failure_says_why(self, transport: Transport) -> None:
        with pytest.raises(CommandFailed, match="no such luck") as caught:
            await transport.run(["sh", "-c", "echo partial; echo no such luck >&2; exit 3"])
        assert (caught.value.exit_status, caught.value.stdout) == (3, b"partial\n")
        assert caught.value.stderr == b"no such luck\n"

    async def test_death_by_signal_is_negative(self, transport: Transport) -> None:
        assert (await transport.run(["sh", "-c", "kill -9 $$"], check=False)).exit_status == -9
        assert (await transport.run(["sh", "-c", "kill -15 $$"], check=False)).exit_status == -15

    async def test_missing_program_is_127(self, transport: Transport) -> None:
        with pytest.raises(CommandFailed, match="no-such-program") as caught:
            await transport.run(["no-such-program", "x"])
        assert caught.value.exit_status == 127
        assert b"no-such-program" in caught.value.stderr

    async def test_program_that_cannot_run_is_126(self, transport: Transport, tmp_path: Path) -> None:
        (tmp_path / "data").write_text("not a program")
        assert (await transport.run([str(tmp_path / "data")], check=False)).exit_status == 126

    async def test_arguments_arrive_as_they_are(self, transport: Transport) -> None:
        done = await transport.run(["printf", "%s\\0", *NASTY])
        assert done.stdout.decode().split("\0")[:-1] == NASTY

    async def test_environment_is_added(self, transport: Transport) -> None:
        env = {"OFFLOAD_CHECK": "a 'b' \"c\" $d\ne", "OTHER": ""}
        done = await transport.run(["sh", "-c", 'printf %s "$OFFLOAD_CHECK:${OTHER-unset}:$PATH"'], env=env)
        assert done.stdout.decode().startswith("a 'b' \"c\" $d\ne::/")

    async def test_our_own_environment_stays_ours(self, transport: Transport) -> None:
        assert "DJANGO_SETTINGS_MODULE" in os.environ
        done = await transport.run(["sh", "-c", "echo ${DJANGO_SETTINGS_MODULE-unset}; pwd"])
        assert done.stdout.decode().split() == ["unset", str(Path.home())]

    async def test_what_cannot_be_carried_is_refused(self, transport: Transport) -> None:
        for argv in ([], [""], ["echo", "a\0b"], ["-x"], ["echo", "x" * 200_000]):
            with pytest.raises(UsageError):
                await transport.run(argv)
        with pytest.raises(UsageError):
            await transport.run(["true"], env={"A=B": "c"})

    async def test_command_that_does_not_read_its_input(self, transport: Transport) -> None:
        done = await transport.run(["true"], input=b"x" * 4_000_000)
        assert done.exit_status == 0

    async def test_stdin_is_at_its_end_by_default(self, transport: Transport) -> None:
        assert (await transport.run(["cat"], deadline=10)).stdout == b""

    async def test_twenty_at_once(self, transport: Transport) -> None:
        async def one(number: int) -> bytes:
            return (await transport.run(["sh", "-c", f"echo {number}; cat"], input=b"x" * number)).stdout

        assert await asyncio.gather(*(one(n) for n in range(20))) == [
            b"%d\n%s" % (n, b"x" * n) for n in range(20)
        ]

    # Ends

    @pytest.mark.parametrize("trap", ["", "trap '' TERM;"], ids=["polite", "stubborn"])
    async def test_deadline_leaves_no_process(self, transport: Transport, trap: str) -> None:
        seconds = unique_seconds()
        with pytest.raises(TimedOut, match="killed"):
            await transport.run(["sh", "-c", f"{trap} sleep {seconds} & sleep {seconds}"], deadline=0.5)
        assert processes_with(seconds) == []

    async def test_deadline_at_once(self, transport: Transport) -> None:
        seconds = unique_seconds()
        with pytest.raises(TimedOut):
            await transport.run(["sleep", seconds], deadline=0.0)
        assert processes_with(seconds) == []

    async def test_cancelling_leaves_no_process(self, transport: Transport) -> None:
        seconds = unique_seconds()
        task = asyncio.create_task(transport.run(["sh", "-c", f"sleep {seconds} & sleep {seconds}"]))
        await until(lambda: len(processes_with(seconds)) == 2, "both sleep")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert processes_with(seconds) == []

    async def test_cancelling_at_any_moment_leaves_no_process(self, transport: Transport) -> None:
        await transport.run(["true"])
        seconds = unique_seconds()
        before = Holdings.now()
        for number in range(20):
            task = asyncio.create_task(transport.run(["sleep", seconds]))
            await asyncio.sleep(number * 0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await before.come_back()
        assert processes_with(seconds) == []

    async def test_what_left_the_session_survives(self, transport: Transport) -> None:
        seconds = unique_seconds()
        await transport.run(["sh", "-c", f"setsid sleep {seconds} </dev/null >/dev/null 2>&1 &"])
        await until(lambda: processes_with(seconds), "it sleeps")
        for pid in processes_with(seconds):
            os.kill(pid, 9)

    # Processes with pipes

    async def test_lines_of_any_length(self, transport: Transport) -> None:
        script = "echo first; echo; head -c 300000 /dev/zero | tr '\\0' x; echo; printf last"
        async with await transport.spawn(["sh", "-c", script]) as process:
            lines = [line async for line in process.lines()]
            assert await process.wait() == 0
        assert lines == [b"first", b"", b"x" * 300_000, b"last"]

    async def test_conversation(self, transport: Transport) -> None:
        script = 'while read -r line; do echo "got $line"; done; echo bye >&2; exit 4'
        async with await transport.spawn(["sh", "-c", script], env={"LC_ALL": "C"}) as process:
            lines = process.lines()
            for number in range(3):
                await process.write(b"%d\n" % number)
                assert await anext(lines) == b"got %d" % number
            await process.write_eof()
            assert [line async for line in lines] == []
            assert await process.wait() == 4
            await until(lambda: process.stderr_tail == b"bye\n", "stderr")

    async def test_spawn_of_a_missing_program(self, transport: Transport) -> None:
        async with await transport.spawn(["no-such-program"]) as process:
            assert await process.wait() == 127

    async def test_stderr_tail_is_bounded(self, transport: Transport) -> None:
        script = "head -c 300000 /dev/zero | tr '\\0' e >&2; printf END >&2"
        async with await transport.spawn(["sh", "-c", script]) as process:
            assert [line async for line in process.lines()] == []
            await until(lambda: process.stderr_tail.endswith(b"END"), "the end of stderr")
            assert len(process.stderr_tail) == 64 * 1024

    async def test_leaving_ends_the_process(self, transport: Transport) -> None:
        seconds = unique_seconds()
        async with await transport.spawn(["sh", "-c", f"trap '' TERM; sleep {seconds} & sleep {seconds}"]):
            await until(lambda: len(processes_with(seconds)) == 2, "both sleep")
        assert processes_with(seconds) == []

    async def test_slow_reader_of_lines_costs_no_memory(self, transport: Transport) -> None:
        async with await transport.spawn(["yes", "x" * 1000]) as process:
            lines = process.lines()
            await anext(lines)
            before = resident_bytes()
            for _ in range(20):
                await asyncio.sleep(0.02)
                await anext(lines)
            assert resident_bytes() - before < 8 * 1024 * 1024

    async def test_writing_to_a_process_that_ended(self, transport: Transport) -> None:
        async with await transport.spawn(["true"]) as process:
            await process.wait()
            with pytest.raises(ConnectionLost):
                await process.write(b"x" * 100_000)

    # Limits: what a machine sends is bounded before it is in memory.

    async def test_too_much_output_ends_the_command(self, transport: Transport) -> None:
        seconds, before = unique_seconds(), resident_bytes()
        with pytest.raises(TooLarge, match="more than 1000000 bytes"):
            await transport.run(["sh", "-c", f"yes & sleep {seconds}"], limit=1_000_000)
        assert processes_with(seconds) == []
        assert resident_bytes() - before < 32 * 1024 * 1024
        script = "head -c 1000 /dev/zero; head -c 300000 /dev/zero >&2; echo END >&2"
        done = await transport.run(["sh", "-c", script], limit=1000)
        assert (len(done.stdout), len(done.stderr), done.stderr[-4:]) == (1000, 64 * 1024, b"END\n")

    async def test_a_line_without_an_end_is_refused(self, transport: Transport) -> None:
        async with await transport.spawn(["cat", "/dev/zero"]) as process:
            with pytest.raises(TooLarge, match="A line of more than 100000 bytes"):
                await anext(process.lines(longest=100_000))

    async def test_a_file_that_is_no_small_regular_one(self, transport: Transport, tmp_path: Path) -> None:
        before = resident_bytes()
        with (tmp_path / "sparse").open("wb") as file:
            file.truncate(3 << 30)
        with pytest.raises(TooLarge):
            await transport.get(str(tmp_path / "sparse"))
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(CommandFailed, match="not a regular file"):
            await transport.get(str(tmp_path / "fifo"))
        assert resident_bytes() - before < 256 * 1024 * 1024

    # Terminals

    async def open(self, transport: Transport, script: str, **options: object) -> tuple[Pty, Recorder]:
        recorder = Recorder()
        pty = await transport.open_pty(["sh", "-c", script], recorder, size=SIZE, **options)  # type: ignore[arg-type]
        return pty, recorder

    async def test_terminal_size_type_and_environment(self, transport: Transport) -> None:
        script = 'tty >/dev/null && stty size && echo "$TERM $WHO"'
        pty, recorder = await self.open(transport, script, term="vt220", env={"WHO": "us & them"})
        assert await pty.wait_closed() == 0
        assert bytes(recorder.data) == b"24 80\r\nvt220 us & them\r\n"
        assert recorder.ends == [(0, None)]
        await pty.aclose()
        assert len(recorder.ends) == 1

    async def test_terminal_exit_status(self, transport: Transport) -> None:
        for script, status in (("exit 5", 5), ("kill -9 $$", -9)):
            pty, recorder = await self.open(transport, script)
            assert await pty.wait_closed() == status
            assert recorder.ends == [(status, None)]
            await pty.aclose()

    async def test_terminal_with_a_missing_program(self, transport: Transport) -> None:
        recorder = Recorder()
        pty = await transport.open_pty(["no-such-program"], recorder, size=SIZE)
        assert await pty.wait_closed() == 127
        assert b"no-such-program" in recorder.data
        await pty.aclose()

    async def test_resize_is_seen(self, transport: Transport) -> None:
        script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"
        pty, recorder = await self.open(transport, script)
        await recorder.sees(b"ready")
        pty.resize(Size(132, 50))
        await recorder.sees(b"50 132")
        await pty.aclose()

    async def test_ctrl_c_works(self, transport: Transport) -> None:
        pty, recorder = await self.open(
            transport, "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.05; done"
        )
        await recorder.sees(b"ready")
        pty.write(b"\x03")
        assert await pty.wait_closed() == 9
        assert b"caught" in recorder.data
        await pty.aclose()

    async def test_terminal_echoes_what_is_typed(self, transport: Transport) -> None:
        pty, recorder = await self.open(transport, "stty raw -echo; echo ready; exec cat")
        await recorder.sees(b"ready")
        recorder.data.clear()
        data = os.urandom(400_000)
        for start in range(0, len(data), 10_000):
            pty.write(data[start : start + 10_000])
            await pty.drain()
        await until(lambda: len(recorder.data) >= len(data), "all came back", 20.0)
        assert bytes(recorder.data) == data
        await pty.aclose()

    async def test_pausing_stops_the_far_side(self, transport: Transport) -> None:
        pty, recorder = await self.open(transport, "exec yes")
        await until(lambda: len(recorder.data) > 100_000, "a flood")
        pty.pause_reading()
        at_pause, calls = len(recorder.data), recorder.calls
        before = resident_bytes()
        await asyncio.sleep(0.5)  # time in which a flood that went on would bring some 10 MB
        assert len(recorder.data) - at_pause <= 128 * 1024
        assert recorder.calls == calls
        assert resident_bytes() - before < 1024 * 1024
        pty.resume_reading()
        await until(lambda: len(recorder.data) > at_pause + 1_000_000, "the flood goes on")
        await pty.aclose()
        assert len(recorder.ends) == 1

    async def test_pauses_lose_nothing(self, transport: Transport) -> None:
        digest, length = hashlib.sha256(), 0
        total = 32 * 1024 * 1024
        script = (
            "stty raw; exec python3 -c "
            "'import sys; [sys.stdout.buffer.write(bytes(range(256)) * 4096) for _ in range(32)]'"
        )
        pauses = 0

        class Hesitant(Recorder):
            def data_received(self, data: bytes) -> None:
                nonlocal length, pauses
                digest.update(data)
                length += len(data)
                if length // 2_000_000 > pauses:
                    pauses += 1
                    pty.pause_reading()
                    asyncio.get_running_loop().call_later(0.005, pty.resume_reading)

        recorder = Hesitant()
        pty = await transport.open_pty(["sh", "-c", script], recorder, size=SIZE)
        assert await asyncio.wait_for(pty.wait_closed(), 60) == 0
        expected = hashlib.sha256(bytes(range(256)) * 4096 * 32)
        assert (length, digest.digest()) == (total, expected.digest())
        assert pauses >= 10
        await pty.aclose()

    async def test_end_comes_after_paused_output(self, transport: Transport) -> None:
        recorder = Recorder()
        pty = await transport.open_pty(["sh", "-c", "echo ready; sleep 0.1; seq 1 500"], recorder, size=SIZE)
        await recorder.sees(b"ready")
        pty.pause_reading()
        await asyncio.sleep(0.5)  # the command ends meanwhile
        assert recorder.ends == []
        pty.resume_reading()
        assert await asyncio.wait_for(pty.wait_closed(), 10) == 0
        assert recorder.data.endswith(b"499\r\n500\r\n")
        assert recorder.late == 0
        await pty.aclose()

    @pytest.mark.parametrize("paused", [False, True])
    async def test_hanging_up_ends_the_command(self, transport: Transport, paused: bool) -> None:
        seconds = unique_seconds()
        pty, recorder = await self.open(transport, f"echo ready; sleep {seconds}; echo after")
        await recorder.sees(b"ready")
        await until(lambda: processes_with(seconds), "it sleeps")
        if paused:
            pty.pause_reading()
        await pty.aclose()
        assert processes_with(seconds) == []
        assert len(recorder.ends) == 1
        assert recorder.ends[0][1] is None
        await pty.aclose()
        pty.write(b"ignored")
        pty.resize(SIZE)
        pty.pause_reading()
        pty.resume_reading()
        with pytest.raises(ConnectionLost):
            await pty.drain()
        assert len(recorder.ends) == 1

    async def test_hanging_up_sends_sighup(self, transport: Transport, tmp_path: Path) -> None:
        said = tmp_path / "said"
        script = f"trap 'echo hup > {said}; exit' HUP; echo ready; while :; do sleep 0.05; done"
        pty, recorder = await self.open(transport, script)
        await recorder.sees(b"ready")
        await pty.aclose()
        assert said.read_text() == "hup\n"

    async def test_hanging_up_on_a_command_that_ignores_it(self, transport: Transport) -> None:
        seconds = unique_seconds()
        pty, recorder = await self.open(transport, f"trap '' HUP TERM; echo ready; exec sleep {seconds}")
        await recorder.sees(b"ready")
        await until(lambda: processes_with(seconds), "it sleeps")
        await pty.aclose()
        assert processes_with(seconds) == []
        assert len(recorder.ends) == 1

    async def test_tmux_attaches_and_detaches(self, transport: Transport, tmp_path: Path) -> None:
        tmux = ["tmux", "-S", str(tmp_path / "socket"), "-f", "/dev/null"]
        await transport.run([*tmux, "new-session", "-d", "-s", "one", "-x", "80", "-y", "24", "cat"])
        try:
            recorder = Recorder()
            pty = await transport.open_pty(
                [*tmux, "attach-session", "-t", "=one"], recorder, size=Size(90, 30)
            )
            await recorder.sees(b"[one]")
            pty.write(b"hello there\r")
            await recorder.sees(b"hello there")
            pty.write(b"\x02d")  # the prefix, and `detach`
            assert await asyncio.wait_for(pty.wait_closed(), 10) == 0
            await pty.aclose()
            recorder = Recorder()
            pty = await transport.open_pty([*tmux, "attach-session", "-t", "=one"], recorder, size=SIZE)
            await recorder.sees(b"hello there")
            await pty.aclose()
            # tmux discards unread output as it starts, with it the process id that ssh would wait for:
            # its client is hung up on, and gone a moment later.
            async with asyncio.timeout(10):
                while (await transport.run([*tmux, "list-clients", "-t", "=one"])).stdout:
                    pass
        finally:
            await transport.run([*tmux, "kill-server"])

    async def test_fifty_times_leaves_nothing(self, transport: Transport, tmp_path: Path) -> None:
        await transport.run(["true"])  # whatever is kept, is kept from here on
        seconds = unique_seconds()
        before = Holdings.now()
        for number in range(50):
            pty, recorder = await self.open(transport, f"echo ready; sleep {seconds}")
            if number % 2:
                await recorder.sees(b"ready")
            await pty.aclose()
            assert len(recorder.ends) == 1
            await transport.run(["cat"], input=b"x")
            async with await transport.spawn(["sleep", seconds]):
                pass
        await before.come_back()
        assert processes_with(seconds) == []

    # Files

    async def test_files_arrive_whole_with_their_mode(self, transport: Transport, tmp_path: Path) -> None:
        path = tmp_path / "deep er" / "-and'er" / "file $x"
        data = os.urandom(3_000_000)
        await transport.put(str(path), data)
        assert path.read_bytes() == data
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700
        await transport.put(str(path), b"#!/bin/sh\n", mode=0o755)
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
        assert await transport.get(str(path)) == b"#!/bin/sh\n"
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]

    async def test_put_replaces_at_once(self, transport: Transport, tmp_path: Path) -> None:
        path = tmp_path / "file"
        await transport.put(str(path), b"old")
        with path.open("rb") as reader:
            await transport.put(str(path), b"new")
            assert reader.read() == b"old"  # a new file took the name; the old one was not written to
        assert path.read_bytes() == b"new"

    async def test_put_that_cannot_be(self, transport: Transport, tmp_path: Path) -> None:
        (tmp_path / "directory").mkdir()
        (tmp_path / "file").write_text("x")
        for path in (tmp_path / "directory", tmp_path / "file" / "below"):
            with pytest.raises(CommandFailed, match="Writing"):
                await transport.put(str(path), b"data")
        assert sorted(os.listdir(tmp_path)) == ["directory", "file"]
        assert os.listdir(tmp_path / "directory") == []

    async def test_get_parts(self, transport: Transport, tmp_path: Path) -> None:
        path = tmp_path / "file"
        data = os.urandom(1_000_000)
        path.write_bytes(data)
        assert await transport.get(str(path)) == data
        assert await transport.get(str(path), offset=999_990) == data[-10:]
        assert await transport.get(str(path), offset=17, limit=100_000) == data[17:100_017]
        assert await transport.get(str(path), offset=2_000_000) == b""
        assert await transport.get(str(path), limit=0) == b""
        path.write_bytes(b"")
        assert await transport.get(str(path)) == b""

    async def test_get_of_what_is_not_there(self, transport: Transport, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        for path in (tmp_path / "nothing", tmp_path / "no" / "thing", tmp_path / "file" / "below"):
            with pytest.raises(NotFound):
                await transport.get(str(path))
        with pytest.raises(CommandFailed, match="directory"):
            await transport.get(str(tmp_path))
