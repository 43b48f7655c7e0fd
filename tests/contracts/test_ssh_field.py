"""ssh workers as they are in the field: other login shells, limits, configurations, host keys."""

from __future__ import annotations

import asyncio
import getpass
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from jobs.errors import ConnectFailed, HostKeyMismatch, NotConfigured, OffloadError
from jobs.transport import ssh
from jobs.transport.command import login_shell_line
from jobs.transport.endpoint import SshEndpoint
from jobs.transport.pool import Pool
from tests.contracts.transport import SIZE, Recorder
from tests.support.sshd import Sshd, make_key

SHELLS = ("sh", "bash", "csh", "bsd-csh", "tcsh", "fish", "zsh")
HOSTILE = [
    "a b", "", "it's", "new\nline", "!!", "!x", "$HOME", "`id`", "back\\slash", "two\\\\", "end\\", "\\'",
    "~", "*", "{a,b}", "%1", "=ls", "+0101", "ü→", "#c", "a;b", '"q"', "^x^y", "-n", "x" * 3000,
]  # fmt: skip


@pytest.mark.parametrize("shell", [name for name in SHELLS if shutil.which(name)])
def test_every_login_shell_reads_the_same_words(shell: str) -> None:
    line = login_shell_line(["printf", "%s\\0", *HOSTILE], {"VARIABLE": "it's\n!"})
    done = subprocess.run([shell, "-c", line], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == HOSTILE
    assert done.stderr == b""


@pytest.mark.parametrize("shell", ["csh", "fish"])
async def test_a_login_shell_that_is_not_sh(shell: str, tmp_path: Path, pool: Pool) -> None:
    force = f'ForceCommand exec {shutil.which(shell)} -c "$SSH_ORIGINAL_COMMAND"'
    with Sshd(tmp_path / "sshd", options=(force,)) as server:
        transport = pool.transport(server.endpoint())
        assert (await transport.run(["printf", "%s", "it's\n!\\\\"])).stdout == b"it's\n!\\\\"
        path = str(tmp_path / "a file!")
        await transport.put(path, b"data\n")
        assert await transport.get(path) == b"data\n"
        await pool.aclose()


async def test_a_server_with_one_session_a_connection(tmp_path: Path, pool: Pool) -> None:
    with Sshd(tmp_path / "sshd", max_sessions=1) as server:
        transport = pool.transport(server.endpoint())
        for _ in range(10):
            await transport.run(["true"])
        recorder = Recorder()
        pty = await transport.open_pty(["cat"], recorder, size=SIZE)
        done = await asyncio.gather(*(transport.run(["echo", "hi"]) for _ in range(3)))
        assert [one.stdout for one in done] == [b"hi\n"] * 3
        pty.write(b"there\r")
        await recorder.sees(b"there\r\nthere")
        await pty.aclose()
        await pool.aclose()


async def test_a_login_shell_that_prints_much(tmp_path: Path, pool: Pool) -> None:
    noise = 'ForceCommand head -c 200000 /dev/zero | tr "\\000" x; eval "$SSH_ORIGINAL_COMMAND"'
    with Sshd(tmp_path / "sshd", options=(noise,)) as server:
        transport = pool.transport(server.endpoint())
        assert (await transport.run(["echo", "hi"])).stdout == b"hi\n"
        recorder = Recorder()
        pty = await transport.open_pty(["cat"], recorder, size=SIZE)
        await recorder.sees(b"x" * 200_000)
        pty.write(b"there\r")
        await recorder.sees(b"there\r\nthere")
        assert b"\x01offload" not in recorder.data
        await pty.aclose()
        await pool.aclose()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("gate", ("gate", None, None)),
        ("me@gate:2222", ("gate", 2222, "me")),
        ("me@[2001:db8::1]:2222", ("2001:db8::1", 2222, "me")),
        ("[::1]", ("::1", None, None)),
        ("::1", ("::1", None, None)),
    ],
)
def test_a_jump_host_is_read(text: str, wanted: tuple[object, ...]) -> None:
    hop = SshEndpoint("far", Path("known"), jump=text).jump_host()
    assert hop is not None
    assert (hop.config_host, hop.port, hop.user) == wanted


async def test_a_jump_host_with_an_ipv6_address(sshd: Sshd, tmp_path: Path, pool: Pool) -> None:
    gate = Sshd(tmp_path / "gate", address="::1")
    shutil.copy(sshd.directory / "authorized_keys", gate.directory / "authorized_keys")
    with gate:
        jump = f"{sshd.endpoint().user}@[::1]:{gate.port}"
        transport = pool.transport(sshd.endpoint(jump=jump, known_hosts=tmp_path / "known"))
        assert (await transport.run(["echo", "hi"])).stdout == b"hi\n"
        assert len(gate.connections()) == 1
        await pool.aclose()


@pytest.mark.parametrize(
    "lines",
    [
        "Host far\n IdentityFile /no/such/key\n IdentityFile {key}\n",
        "Match localnetwork 127.0.0.0/8\n ForwardAgent no\nHost far\n IdentityFile {key}\n",
        "Match host far version *\n ForwardAgent no\nHost far\n IdentityFile {key}\n",
        "Host far\n IdentityFile /etc\n IdentityFile {key}.pub\n IdentityFile {key}\n",
        "Host far\n IdentityFile /etc/hostname\n PKCS11Provider /no/such.so\n IdentityFile {key}\n",
        "# \xfc\nHost far\n IdentityFile {key}\n",
        "Host far\n CertificateFile {key}.pub\n CertificateFile /etc/hostname\n IdentityFile {key}\n",
        "Host far\n IdentityFile {key}\n ProxyCommand exec {sshd} -i -e -f {config} 2>>/dev/null\n",
    ],
)
async def test_a_configuration_that_openssh_reads(
    lines: str, sshd: Sshd, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    program, config = shutil.which("sshd", path="/usr/sbin:/sbin"), sshd.directory / "sshd_config"
    text = lines.format(key=sshd.client_key, sshd=program, config=config)
    text += f" HostName 127.0.0.1\n Port {sshd.port}\n"
    (tmp_path / ".ssh" / "config").write_text(text, encoding="latin-1")
    endpoint = sshd.endpoint(config_host="far", port=None, key=None, known_hosts=tmp_path / "known")
    assert (await pool.transport(endpoint).run(["echo", "hi"])).stdout == b"hi\n"


async def test_a_key_named_by_every_token(
    sshd: Sshd, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    config = tmp_path / ".ssh" / "config"
    user, host = getpass.getuser(), socket.gethostname()
    config.write_text(
        f"Host far\n HostName 127.0.0.1\n Port {sshd.port}\n ControlPath %C\n"
        " IdentityFile %d/%%-%h-%i-%k-%L-%l-%n-%p-%r-%u-%C\n"
    )
    asked = subprocess.run(["ssh", "-F", config, "-G", "far"], capture_output=True, text=True, check=True)
    digest = re.search(r"^controlpath (\w{40})$", asked.stdout, re.M)
    assert digest
    name = f"%-127.0.0.1-{os.getuid()}-far-{host.partition('.')[0]}-{host}-far-{sshd.port}-{user}-{user}"
    shutil.copy(sshd.client_key, tmp_path / f"{name}-{digest[1]}")
    endpoint = sshd.endpoint(config_host="far", port=None, key=None, known_hosts=tmp_path / "known")
    assert (await pool.transport(endpoint).run(["echo", "hi"])).stdout == b"hi\n"


@pytest.mark.parametrize("jump", ["gate", "[::1]:{port}"])
async def test_a_jump_host_of_the_configuration(
    jump: str, sshd: Sshd, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    gate = Sshd(tmp_path / "gate", address="::1")
    shutil.copy(sshd.directory / "authorized_keys", gate.directory / "authorized_keys")
    with gate:
        (tmp_path / ".ssh" / "config").write_text(
            f"Host gate\n HostName ::1\n Port {gate.port}\n"
            f"Host far\n HostName 127.0.0.1\n Port {sshd.port}\n ProxyJump {jump.format(port=gate.port)}\n"
            f"Host *\n IdentityFile /no/such/key\n IdentityFile {sshd.client_key}\n"
        )
        endpoint = sshd.endpoint(config_host="far", port=None, key=None, known_hosts=tmp_path / "known")
        assert (await pool.transport(endpoint).run(["echo", "hi"])).stdout == b"hi\n"
        assert len(gate.connections()) == 1
        assert len((tmp_path / "known").read_text().splitlines()) == 2, "the jump host is pinned too"
        await pool.aclose()


async def test_a_host_key_in_another_file_of_the_configuration(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host *\n UserKnownHostsFile ~/known_%h /dev/null\n")
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    (tmp_path / "known_127.0.0.1").write_text(f"[127.0.0.1]:{sshd.port} {other}")
    with pytest.raises(HostKeyMismatch, match=r"is pinned in .*/known_127\.0\.0\.1"):
        await ssh.connect(sshd.endpoint(known_hosts=tmp_path / "pins"))


@pytest.mark.parametrize(
    ("known", "error"),
    [
        (
            "junk\n|1|broken ssh-rsa AAAA\n@cert-authority\n@foo bar baz\n# \xfc\n{name} {key} \xfc\x0b\n",
            None,
        ),
        ("127.0.0.1 {other}\n", None),  # the machine at another port
        ("127.0.0.1 {key}\n", None),
        ("junk\n{name} {other}\n", HostKeyMismatch),
        ("junk\n@revoked {name} {key}\n", HostKeyMismatch),
        ("[127.0.0.*]:* {other}\n", HostKeyMismatch),
    ],
)
async def test_known_hosts_are_read_as_openssh_does(
    known: str, error: type[OffloadError] | None, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text().strip()
    key = sshd.host_key.with_suffix(".pub").read_text().strip()
    text = known.format(name=f"[127.0.0.1]:{sshd.port}", key=key, other=other)
    (tmp_path / ".ssh" / "known_hosts").write_text(text, encoding="latin-1")
    endpoint = sshd.endpoint(known_hosts=tmp_path / "pins")
    if error is not None:
        with pytest.raises(error):
            await ssh.connect(endpoint)
        return
    await (await ssh.connect(endpoint)).close()
    assert key.split()[1] in (tmp_path / "pins").read_text()


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("RevokedHostKeys {directory}/revoked", HostKeyMismatch),
        ("RevokedHostKeys {directory}/missing", NotConfigured),
        ("ProxyCommand nc %h %p\n ProxyUseFdpass yes", NotConfigured),
        ('UserKnownHostsFile "{directory}/my hosts" /dev/null', HostKeyMismatch),
    ],
)
async def test_a_keyword_that_decides_about_trust_is_never_ignored(
    line: str, error: type[OffloadError], sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(f"Host *\n {line.format(directory=tmp_path)}\n")
    (tmp_path / "revoked").write_text("# gone\njunk\n" + sshd.host_key.with_suffix(".pub").read_text())
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    (tmp_path / "my hosts").write_text(f"[127.0.0.1]:{sshd.port} {other}")
    with pytest.raises(error):
        await ssh.connect(sshd.endpoint(known_hosts=tmp_path / "pins"))


@pytest.mark.parametrize(
    "known", ["", "@cert-authority [127.0.0.1]:* {authority}", "@cert-authority * {other}"]
)
async def test_a_host_certificate(known: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    keys = {name: make_key(tmp_path / name) for name in ("authority", "other")}
    public = {name: key.with_suffix(".pub").read_text() for name, key in keys.items()}
    (tmp_path / ".ssh" / "known_hosts").write_text(known.format(**public))
    server = Sshd(tmp_path / "sshd", options=(f"HostCertificate {tmp_path}/sshd/host_key-cert.pub",))
    words = ["-q", "-h", "-I", "host", "-n", "127.0.0.1", "-s", str(keys["authority"])]
    subprocess.run(["ssh-keygen", *words, f"{server.host_key}.pub"], check=True)
    with server:
        if "other" in known:
            with pytest.raises(HostKeyMismatch, match="CA key is not trusted"):
                await ssh.connect(server.endpoint())
        else:
            await (await ssh.connect(server.endpoint())).close()


@pytest.mark.parametrize("lines", ["Host *\n ProxyJump b\n", "Host a\n ProxyJump b\nHost b\n ProxyJump a\n"])
async def test_a_jump_host_that_leads_back_to_itself(
    lines: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(lines)
    with pytest.raises(NotConfigured, match=r"jumphost loop via b|leads back to a"):
        await ssh.connect(SshEndpoint("a", tmp_path / "known"))


async def refusal_of(server: Sshd) -> OffloadError:
    with pytest.raises(OffloadError) as caught:
        await ssh.connect(server.endpoint())
    return caught.value


async def test_a_server_without_a_common_key_exchange(tmp_path: Path) -> None:
    only = "KexAlgorithms sntrup761x25519-sha512@openssh.com"
    with Sshd(tmp_path / "sshd", options=(only,)) as server:
        # A busy sshd may hang up before it sent its list; then no more than that can be said.
        told = [await refusal_of(server) for _ in range(20)]
    assert {type(one) for one in told} <= {NotConfigured, ConnectFailed}
    known = next(one for one in told if isinstance(one, NotConfigured))
    assert "key exchange algorithms: sntrup761x25519-sha512" in known.message
    assert "KexAlgorithms" in known.hint


@pytest.mark.parametrize("whose", ["ours", "user"])
@pytest.mark.parametrize("pinned", [True, False])
async def test_a_revoked_host_key_is_refused(
    whose: str, pinned: bool, sshd: Sshd, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    name, key = f"[127.0.0.1]:{sshd.port}", sshd.host_key.with_suffix(".pub").read_text()
    known = tmp_path / "known"
    known.write_text(f"{name} {key}" if pinned else "")
    revoking = known if whose == "ours" else tmp_path / ".ssh" / "known_hosts"
    with revoking.open("a") as file:
        file.write(f"@revoked {name} {key}")
    with pytest.raises(HostKeyMismatch, match="revoked"):
        await pool.transport(sshd.endpoint(known_hosts=known)).run(["true"])


async def test_a_known_host_with_a_key_of_another_type(sshd: Sshd, pool: Pool, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(other)], check=True)
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{sshd.port} {other.with_suffix('.pub').read_text()}")
    with pytest.raises(HostKeyMismatch, match=r"another type \(ssh-ed25519\).*ecdsa-sha2-nistp256") as caught:
        await pool.transport(sshd.endpoint(known_hosts=known)).run(["true"])
    assert "ssh-ed25519 AAAA" in caught.value.hint
