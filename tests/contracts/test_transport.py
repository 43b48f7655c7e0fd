"""Both transports keep the contract; ssh against a real sshd, the local one under uvloop as well."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.errors import (
    AuthRefused,
    CommandFailed,
    ConnectFailed,
    ConnectionLost,
    HostKeyMismatch,
    NotConfigured,
    TimedOut,
)
from jobs.transport.base import Transport
from jobs.transport.command import quoted
from jobs.transport.endpoint import LocalEndpoint
from jobs.transport.local import LocalTransport
from jobs.transport.pool import Pool
from jobs.transport.ssh import Timing
from tests.contracts.transport import SIZE, Recorder, TransportContract, unique_seconds
from tests.support import agent
from tests.support.leaks import Holdings, processes_with, until
from tests.support.proxy import FaultProxy
from tests.support.sshd import Sshd, free_port, make_key


class TestLocal(TransportContract):
    @pytest.fixture
    def transport(self) -> Transport:
        return LocalTransport()


class TestSsh(TransportContract):
    @pytest.fixture
    async def transport(self, sshd: Sshd, pool: Pool) -> Transport:
        return pool.transport(sshd.endpoint())


def test_local_transport_under_uvloop(tmp_path: Path) -> None:
    contract = TransportContract()

    async def all_of_it() -> None:
        transport = LocalTransport(LocalEndpoint())
        await contract.test_exact_bytes_both_ways(transport)
        await contract.test_deadline_leaves_no_process(transport, "")
        await contract.test_lines_of_any_length(transport)
        await contract.test_terminal_size_type_and_environment(transport)
        await contract.test_pauses_lose_nothing(transport)
        await contract.test_ctrl_c_works(transport)
        await contract.test_hanging_up_ends_the_command(transport, paused=True)
        await contract.test_missing_program_is_127(transport)

    uvloop.run(all_of_it())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=6),
    st.dictionaries(
        st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        max_size=2,
    ),
)
def test_a_shell_reads_back_what_was_quoted(words: list[str], env: dict[str, str]) -> None:
    env = {f"X{key}": value for key, value in env.items()}
    shown = "".join(f"printf '%s\\0' \"${key}\"; " for key in env)
    line = quoted(["sh", "-c", f"{shown}for word; do printf '%s\\0' \"$word\"; done", "sh", *words], env)
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == [*env.values(), *words]


class TestFirstContact:
    async def test_host_key_is_pinned_and_its_fingerprint_told(
        self, fresh_sshd: Sshd, pool: Pool, caplog: pytest.LogCaptureFixture
    ) -> None:
        endpoint = fresh_sshd.endpoint()
        await pool.transport(endpoint).run(["true"])
        shown = await LocalTransport().run(["ssh-keygen", "-lf", f"{fresh_sshd.host_key}.pub"])
        fingerprint = shown.stdout.decode().split()[1]
        assert fingerprint in caplog.text
        assert pool.lines(endpoint).lines[0].fingerprint == fingerprint
        name, kind, _ = endpoint.known_hosts.read_text().split(maxsplit=2)
        assert (name, kind) == (f"[127.0.0.1]:{fresh_sshd.port}", "ssh-ed25519")
        assert endpoint.known_hosts.stat().st_mode & 0o777 == 0o600

    async def test_unknown_host_is_refused_when_pinning_is_off(self, fresh_sshd: Sshd, pool: Pool) -> None:
        endpoint = fresh_sshd.endpoint(pin_new_host=False)
        with pytest.raises(HostKeyMismatch, match="SHA256:"):
            await pool.transport(endpoint).run(["true"])
        assert not endpoint.known_hosts.exists()

    async def test_changed_host_key_is_refused_with_both_fingerprints(
        self, fresh_sshd: Sshd, pool: Pool
    ) -> None:
        await pool.transport(fresh_sshd.endpoint()).run(["true"])
        await pool.aclose()
        pinned = fresh_sshd.known_hosts.read_text()
        fresh_sshd.stop()
        fresh_sshd.new_host_key()
        fresh_sshd.start()
        with pytest.raises(HostKeyMismatch) as caught:
            await pool.transport(fresh_sshd.endpoint()).run(["true"])
        assert caught.value.message.count("SHA256:") == 2
        assert "ssh-keygen -f" in caught.value.hint
        assert fresh_sshd.known_hosts.read_text() == pinned

    async def test_wrong_key_is_refused(self, sshd: Sshd, pool: Pool, tmp_path: Path) -> None:
        endpoint = sshd.endpoint(key=make_key(tmp_path / "stranger"))
        with pytest.raises(AuthRefused, match="accepts none of our keys"):
            await pool.transport(endpoint).run(["true"])

    async def test_a_key_with_a_passphrase_is_the_agents_to_use(
        self, sshd: Sshd, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        key = tmp_path / "locked"
        for end in ("", ".pub"):
            shutil.copy(f"{sshd.client_key}{end}", f"{key}{end}")
        agent.lock(key)
        endpoint = sshd.endpoint(key=key)
        with agent.ssh_agent(tmp_path) as socket:
            for known in ("", str(socket)):  # no agent, and one that has another key
                monkeypatch.setenv("SSH_AUTH_SOCK", known)
                if known:
                    agent.add(agent.lock(make_key(tmp_path / "another")), socket)
                with pytest.raises(AuthRefused, match="locked has a passphrase") as caught:
                    await Pool().transport(endpoint).run(["true"])
                assert f"ssh-add {key}" in caught.value.hint
            agent.add(key, socket)
            assert (await pool.transport(endpoint).run(["echo", "hi"])).stdout == b"hi\n"

    async def test_a_key_that_cannot_be_pinned_leaves_no_connection(
        self, fresh_sshd: Sshd, pool: Pool, tmp_path: Path
    ) -> None:
        where = tmp_path / "known_hosts"
        where.symlink_to("/proc/nowhere/known_hosts")
        with pytest.raises(NotConfigured, match="Pinning the host key"):
            await pool.transport(fresh_sshd.endpoint(known_hosts=where)).run(["true"])
        await until(lambda: not fresh_sshd.connections(), "the connection ends")

    async def test_nobody_listens(self, sshd: Sshd, pool: Pool) -> None:
        with pytest.raises(ConnectFailed, match="Connecting to"):
            await pool.transport(sshd.endpoint(port=free_port())).run(["true"])

    async def test_somebody_listens_who_says_nothing(self, sshd: Sshd) -> None:
        pool = Pool(Timing(connect=0.5))
        async with FaultProxy(sshd.port) as proxy:
            proxy.stall()
            with pytest.raises(ConnectFailed, match="no answer"):
                await pool.transport(sshd.endpoint(port=proxy.port)).run(["true"])
        await pool.aclose()


class TestWayThere:
    async def test_openssh_config_is_honoured(
        self, sshd: Sshd, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / ".ssh").mkdir()
        (tmp_path / ".ssh" / "config").write_text(
            f"Host nick\n HostName 127.0.0.1\n Port {sshd.port}\n IdentityFile {sshd.client_key}\n"
        )
        endpoint = sshd.endpoint(config_host="nick", port=None, key=None, known_hosts=tmp_path / "known")
        assert (await pool.transport(endpoint).run(["echo", "hi"])).stdout == b"hi\n"
        assert endpoint.known_hosts.read_text().startswith(f"[nick]:{sshd.port} ")

    async def test_jump_host_of_the_openssh_config(
        self, sshd: Sshd, fresh_sshd: Sshd, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        shutil.copy(sshd.directory / "authorized_keys", fresh_sshd.directory / "authorized_keys")
        (tmp_path / ".ssh").mkdir()
        (tmp_path / ".ssh" / "config").write_text(
            f"Host *\n IdentityFile {sshd.client_key}\n HostName 127.0.0.1\n"
            f"Host gate\n Port {fresh_sshd.port}\nHost inner\n Port {sshd.port}\n ProxyJump gate\n"
        )
        known = tmp_path / "known"
        pinned = [
            f"[127.0.0.1]:{one.port} {one.host_key.with_suffix('.pub').read_text()}" for one in (fresh_sshd,)
        ]
        (tmp_path / ".ssh" / "known_hosts").write_text("".join(pinned))
        endpoint = sshd.endpoint(config_host="inner", port=None, key=None, known_hosts=known)
        done = await pool.transport(endpoint).run(["sh", "-c", "echo $SSH_CONNECTION"])
        assert done.stdout.split()[3] == b"%d" % sshd.port
        assert len(fresh_sshd.connections()) == 1

    async def test_keys_of_the_agent(
        self, sshd: Sshd, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        socket = tmp_path / "agent"
        agent = await asyncio.create_subprocess_exec("ssh-agent", "-D", "-a", str(socket), stdout=-3)
        try:
            await until(socket.exists, "the agent listens", 20.0)
            monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
            endpoint = sshd.endpoint(key=None)
            with pytest.raises(AuthRefused):
                await Pool().transport(endpoint).run(["true"])
            subprocess.run(["ssh-add", "-q", str(sshd.client_key)], check=True)
            assert (await pool.transport(endpoint).run(["echo", "hi"])).stdout == b"hi\n"
        finally:
            agent.terminate()
            await agent.wait()

    async def test_explicit_address_wins_over_the_name(self, sshd: Sshd, pool: Pool, tmp_path: Path) -> None:
        endpoint = sshd.endpoint(
            config_host="no-such-host.invalid", host="127.0.0.1", known_hosts=tmp_path / "known"
        )
        await pool.transport(endpoint).run(["true"])
        assert "no-such-host.invalid" in endpoint.known_hosts.read_text()

    async def test_jump_host(self, sshd: Sshd, fresh_sshd: Sshd, pool: Pool, tmp_path: Path) -> None:
        shutil.copy(sshd.directory / "authorized_keys", fresh_sshd.directory / "authorized_keys")
        endpoint = sshd.endpoint(jump=f"127.0.0.1:{fresh_sshd.port}", known_hosts=tmp_path / "known")
        before = Holdings.now()
        done = await pool.transport(endpoint).run(["sh", "-c", "echo $SSH_CONNECTION"])
        assert done.stdout.split()[3] == b"%d" % sshd.port
        assert len(fresh_sshd.connections()) == 1
        assert len(endpoint.known_hosts.read_text().splitlines()) == 2
        await pool.aclose()
        await before.come_back()

    async def test_proxy_command(self, sshd: Sshd, pool: Pool) -> None:
        code = (
            "import socket,sys,threading,os\n"
            f"s=socket.create_connection(('127.0.0.1',{sshd.port}))\n"
            "def up():\n"
            "  while d:=os.read(0,65536): s.sendall(d)\n"
            "threading.Thread(target=up,daemon=True).start()\n"
            "while d:=s.recv(65536): os.write(1,d)\n"
        )
        endpoint = sshd.endpoint(proxy_command=("python3", "-c", code))
        before = Holdings.now()
        assert (await pool.transport(endpoint).run(["echo", "hi"])).stdout == b"hi\n"
        await pool.aclose()
        await before.come_back()

    async def test_fast_cipher_is_asked_for(self, sshd: Sshd, pool: Pool) -> None:
        await pool.transport(sshd.endpoint()).run(["true"])
        (line,) = pool.lines(sshd.endpoint()).lines
        assert line._connection.get_extra_info("send_cipher") == "aes128-gcm@openssh.com"
        assert line._connection.get_extra_info("send_compression") == "none"


class TestSharing:
    async def test_one_login_for_many_commands(self, sshd: Sshd, pool: Pool) -> None:
        transport = pool.transport(sshd.endpoint())
        await asyncio.gather(*(transport.run(["true"]) for _ in range(5)))
        await pool.transport(sshd.endpoint()).run(["true"])
        assert pool.lines(sshd.endpoint()).attempts == 1

    async def test_a_full_connection_gets_a_second(self, sshd: Sshd, pool: Pool) -> None:
        transport = pool.transport(sshd.endpoint())
        processes = [await transport.spawn(["cat"]) for _ in range(11)]
        lines = pool.lines(sshd.endpoint())
        assert sorted(line.used for line in lines.lines) == [1, 10]
        for process in processes:
            await process.aclose()
        assert [line.used for line in lines.lines] == [0, 0]
        assert lines.attempts == 2

    async def test_a_server_with_a_lower_limit(self, tmp_path: Path, pool: Pool) -> None:
        with Sshd(tmp_path / "sshd", max_sessions=3) as server:
            transport = pool.transport(server.endpoint())
            processes = await asyncio.gather(*(transport.spawn(["cat"]) for _ in range(8)))
            assert pool.lines(server.endpoint()).attempts >= 3
            for process in processes:
                await process.write(b"hi\n")
                assert await anext(process.lines()) == b"hi"
            await asyncio.gather(*(process.aclose() for process in processes))
            await pool.aclose()

    async def test_idle_connections_are_closed(self, sshd: Sshd) -> None:
        pool = Pool(Timing(idle=0.1))
        before = Holdings.now()
        await pool.transport(sshd.endpoint()).run(["true"])
        lines = pool.lines(sshd.endpoint())
        await until(lambda: not lines.lines, "the idle connection is closed")
        await before.come_back()
        await pool.transport(sshd.endpoint()).run(["true"])
        assert lines.attempts == 2
        await pool.aclose()

    async def test_a_terminal_keeps_its_connection(self, sshd: Sshd) -> None:
        pool = Pool(Timing(idle=0.05))
        recorder = Recorder()
        pty = await pool.transport(sshd.endpoint()).open_pty(["cat"], recorder, size=SIZE)
        await pool.transport(sshd.endpoint()).run(["true"])
        await asyncio.sleep(0.3)  # several idle times
        pty.write(b"still here\r")
        await recorder.sees(b"still here\r\nstill here")
        await pty.aclose()
        await pool.aclose()

    async def test_failed_logins_are_not_repeated_at_once(self, sshd: Sshd, tmp_path: Path) -> None:
        pool = Pool(Timing(back_off=60.0, refused_limit=60.0))
        endpoint = sshd.endpoint(key=make_key(tmp_path / "stranger"))
        transport = pool.transport(endpoint)
        results = await asyncio.gather(*(transport.run(["true"]) for _ in range(5)), return_exceptions=True)
        assert {type(result) for result in results} == {AuthRefused}
        with pytest.raises(AuthRefused, match="Next attempt in"):
            await transport.run(["true"])
        assert pool.lines(endpoint).attempts == 1
        await pool.aclose()

    def test_every_event_loop_has_its_own(self, sshd: Sshd) -> None:
        pool = Pool()

        async def once() -> bytes:
            done = await pool.transport(sshd.endpoint()).run(["echo", "hi"])
            await pool.aclose()
            return done.stdout

        assert [asyncio.run(once()), asyncio.run(once()), uvloop.run(once())] == [b"hi\n"] * 3


class TestBrokenLines:
    async def test_only_connecting_is_tried_again(self, fresh_sshd: Sshd, pool: Pool, tmp_path: Path) -> None:
        """Neither a command's own failure nor a line that broke under it makes it run twice."""
        transport = pool.transport(fresh_sshd.endpoint())
        marks = tmp_path / "marks"
        with pytest.raises(CommandFailed):
            await transport.run(["sh", "-c", f"echo failed >>{marks}; exit 255"])
        task = asyncio.create_task(transport.run(["sh", "-c", f"echo broke >>{marks}; sleep 60"]))
        await until(lambda: "broke" in marks.read_text(), "it runs", 20.0)
        fresh_sshd.stop()
        with pytest.raises(ConnectionLost):
            await task
        with pytest.raises(ConnectFailed):
            await transport.run(["sh", "-c", f"echo never >>{marks}"])
        fresh_sshd.start()
        # The pause after a failure is waited for, not answered with the old error.
        assert (await transport.run(["echo", "back"])).stdout == b"back\n"
        assert marks.read_text().split() == ["failed", "broke"]

    async def test_connection_killed_during_a_command(self, fresh_sshd: Sshd, pool: Pool) -> None:
        transport = pool.transport(fresh_sshd.endpoint())
        seconds = unique_seconds()
        task = asyncio.create_task(transport.run(["sleep", seconds]))
        await until(lambda: processes_with(seconds), "it sleeps")
        fresh_sshd.cut()
        with pytest.raises(ConnectionLost, match="connection broke"):
            await task
        assert (await transport.run(["echo", "again"])).stdout == b"again\n"
        for pid in processes_with(seconds):
            os.kill(pid, 9)

    async def test_connection_cut_under_a_terminal_and_a_process(self, sshd: Sshd, pool: Pool) -> None:
        async with FaultProxy(sshd.port) as proxy:
            transport = pool.transport(sshd.endpoint(port=proxy.port))
            recorder = Recorder()
            pty = await transport.open_pty(["cat"], recorder, size=SIZE)
            process = await transport.spawn(["cat"])
            await process.write(b"x\n")
            lines = process.lines()
            assert await anext(lines) == b"x"
            proxy.cut()
            assert await pty.wait_closed() is None
            ((status, error),) = recorder.ends
            assert status is None
            assert isinstance(error, ConnectionLost)
            with pytest.raises(ConnectionLost):
                await anext(lines)
            with pytest.raises(ConnectionLost):
                await process.wait()
            await process.aclose()
            await pty.aclose()
            assert len(recorder.ends) == 1
            await pool.aclose()

    async def test_stalled_line_is_found_by_keepalive(self, sshd: Sshd) -> None:
        pool = Pool(Timing(keepalive=0.1, missed=3))
        async with FaultProxy(sshd.port) as proxy:
            transport = pool.transport(sshd.endpoint(port=proxy.port))
            process = await transport.spawn(["cat"])
            proxy.stall()
            with pytest.raises(ConnectionLost):
                await asyncio.wait_for(process.wait(), 10)
            await process.aclose()
            proxy.cut()
            proxy.resume()
            assert (await transport.run(["echo", "again"])).stdout == b"again\n"
            await pool.aclose()

    async def test_deadline_on_a_stalled_line_does_not_claim_a_kill(self, sshd: Sshd, pool: Pool) -> None:
        async with FaultProxy(sshd.port) as proxy:
            transport = pool.transport(sshd.endpoint(port=proxy.port))
            await transport.run(["true"])
            # Long enough to stall the line in, on a busy machine.
            task = asyncio.create_task(transport.run(["sleep", "600"], deadline=3.0))
            await until(lambda: pool.lines(sshd.endpoint(port=proxy.port)).lines[0].used, "it runs")
            proxy.stall()
            with pytest.raises(TimedOut, match="may still run"):
                await task
            proxy.resume()
            await pool.aclose()

    async def test_slow_line_loses_nothing(self, sshd: Sshd, pool: Pool) -> None:
        async with FaultProxy(sshd.port, delay=0.01) as proxy:
            transport = pool.transport(sshd.endpoint(port=proxy.port))
            data = bytes(range(256)) * 4000
            assert (await transport.run(["cat"], input=data)).stdout == data
            await pool.aclose()
