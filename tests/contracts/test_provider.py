"""Memory, this machine, and a machine behind ssh keep the provider's contract."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from jobs.errors import NoCapacity, NotConfigured
from jobs.providers import registry
from jobs.providers.base import Problem, Severity
from jobs.providers.local import LocalProvider, read_version
from jobs.providers.ssh import SshProvider
from jobs.transport.endpoint import SshEndpoint
from jobs.transport.pool import Pool
from tests.contracts.provider import Harness, ProviderContract
from tests.support.memory_cloud import cloud
from tests.support.sshd import Sshd


class TestMemory(ProviderContract):
    @pytest.fixture
    def harness(self) -> Harness:
        name = uuid.uuid4().hex

        async def settle() -> None:
            cloud(name).settle()

        provider = registry.make("memory", {"name": "worker", "cloud": name})
        return Harness(provider, "worker", {"size": "small"}, settle)

    async def test_no_capacity(self) -> None:
        name = uuid.uuid4().hex
        provider = registry.make("memory", {"cloud": name})
        cloud(name).capacity = 1
        await provider.create({}, "first")
        with pytest.raises(NoCapacity):
            await provider.create({}, "second")
        assert await provider.get("second") is None
        await provider.stop("first")
        cloud(name).settle()
        await provider.create({}, "second")
        with pytest.raises(NoCapacity):
            await provider.start("first")

    async def test_two_providers_of_one_cloud_see_the_same(self, harness: Harness) -> None:
        name = uuid.uuid4().hex
        await registry.make("memory", {"cloud": name}).create({}, "one")
        assert await registry.make("memory", {"cloud": name}).get("one")
        assert await harness.provider.get("one") is None


def by_subject(problems: object) -> dict[str, Problem]:
    return {problem.subject: problem for problem in problems}  # type: ignore[attr-defined]


class TestLocal(ProviderContract):
    @pytest.fixture
    def harness(self) -> Harness:
        return Harness(registry.make("local", {"name": "local"}), "local", makes_machines=False)

    async def test_this_machine_has_what_is_needed(self, harness: Harness) -> None:
        problems = by_subject(await harness.provider.check())
        assert set(problems) == {"tmux", "git", "python", "disk", "docker"}
        for subject in ("tmux", "git", "python"):
            assert problems[subject].severity is Severity.PASS, problems[subject]

    @pytest.mark.parametrize(
        ("says", "severity"),
        [
            ("tmux 2.9a", Severity.FAIL),
            ("tmux 3.0", Severity.PASS),
            ("tmux next-3.6", Severity.PASS),
            ("tmux master", Severity.WARN),
        ],
    )
    async def test_tmux_of_several_ages(
        self, says: str, severity: Severity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "tmux").write_text(f"#!/bin/sh\necho {says}\n")
        (tmp_path / "tmux").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
        problem = by_subject(await LocalProvider({}).check())["tmux"]
        assert (problem.severity, says in problem.detail) == (severity, True)

    async def test_missing_programs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        problems = by_subject(await LocalProvider({"root": str(tmp_path / "not" / "yet")}).check())
        assert problems["git"].severity is problems["tmux"].severity is Severity.FAIL
        assert problems["docker"].severity is Severity.WARN

    def test_versions_are_read(self) -> None:
        assert read_version("tmux 3.3a") == (3, 3)
        assert read_version("git version 2.39.5 (Apple Git-154)") == (2, 39)
        assert read_version("nothing") is None


class TestSsh(ProviderContract):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        provider = registry.make("ssh", {"name": "box", "home": str(tmp_path)})
        return Harness(provider, "box", makes_machines=False)

    def test_endpoint_from_configuration(self, tmp_path: Path) -> None:
        provider = SshProvider(
            {
                "name": "box",
                "home": str(tmp_path),
                "host": "box.example.org",
                "user": "me",
                "port": "2222",
                "key": "~/.ssh/other",
                "jump": "gate",
                "proxy_command": "nc 'a b' %p",
            }
        )
        assert provider._endpoint == SshEndpoint(
            config_host="box.example.org",
            known_hosts=tmp_path / "known_hosts",
            port=2222,
            user="me",
            key=Path.home() / ".ssh" / "other",
            jump="gate",
            proxy_command=("nc", "a b", "%p"),
        )

    def test_what_is_not_given_is_left_to_the_openssh_config(self, tmp_path: Path) -> None:
        endpoint = SshProvider({"name": "box", "home": str(tmp_path)})._endpoint
        assert endpoint == SshEndpoint(config_host="box", known_hosts=tmp_path / "known_hosts")

    @pytest.mark.parametrize(
        "config",
        [{}, {"name": "box", "port": 0}, {"name": "box", "port": "x"}, {"name": "box", "host": "-oProxy"}],
    )
    def test_broken_configuration(self, config: dict[str, object]) -> None:
        with pytest.raises(NotConfigured):
            registry.make("ssh", config)

    async def test_key_that_is_not_there(self, tmp_path: Path) -> None:
        provider = SshProvider({"name": "box", "home": str(tmp_path), "key": str(tmp_path / "none")})
        assert by_subject(await provider.check())["ssh key"].severity is Severity.FAIL

    async def test_a_key_of_the_openssh_configuration(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        (tmp_path / ".ssh").mkdir()
        (tmp_path / ".ssh" / "config").write_text("Host box\n IdentityFile ~/keys/%h\n IdentityFile ~/work\n")
        (tmp_path / "work").touch()
        check = by_subject(await SshProvider({"name": "box", "home": str(tmp_path)}).check())["ssh key"]
        assert check.severity is Severity.PASS
        assert check.detail.endswith(": ~/work.")

    async def test_the_machine_is_reached(self, sshd: Sshd, pool: Pool, tmp_path: Path) -> None:
        config = {"host": "127.0.0.1", "port": sshd.port, "key": str(sshd.client_key)}
        provider = registry.make("ssh", {**config, "name": "box", "home": str(tmp_path)})
        instance = await provider.get("box")
        assert instance is not None
        done = await pool.transport(provider.endpoint(instance)).run(["echo", "hi"])
        assert done.stdout == b"hi\n"
        assert (tmp_path / "known_hosts").exists()


def test_unknown_kind() -> None:
    with pytest.raises(NotConfigured, match=r"Known providers: .*local"):
        registry.make("abacus", {})
