"""One ssh connection, by asyncssh: connecting, trusting the host's key, opening channels, errors.

Only this file, `known_hosts` and `ssh_options` import asyncssh; the pool imports them at its first use.
What its errors mean for us is written in one place, `refused` and `broken`.
"""

from __future__ import annotations

import asyncio
import re
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from jobs.errors import (
    AuthRefused,
    ConnectFailed,
    ConnectionLost,
    HostKeyMismatch,
    NotConfigured,
    TransportError,
)
from jobs.transport import host_trust, known_hosts
from jobs.transport.base import Size
from jobs.transport.endpoint import SshEndpoint
from jobs.transport.host_keys import HostKey
from jobs.transport.proxy import ProxyTunnel
from jobs.transport.ssh_options import HostOptions, host_options, user_config, without_unknown_blocks
from jobs.transport.ssh_session import RemoteSession

MAX_CHANNELS = 10  # sshd's MaxSessions, unless its administrator changed it
WINDOW = 128 * 1024  # bytes in flight to a terminal; asyncssh's 2 MiB cost 400 ms at Ctrl-C
BULK_WINDOW = 1024 * 1024
WITH_NONCE = ("-gcm@openssh.com", "-poly1305@openssh.com")
MSG_IGNORE = 2  # RFC 4253, section 11.2
USER_KNOWN_HOSTS = Path("~/.ssh/known_hosts")
OPEN_PATIENCE = 5.0
"""Seconds that a cancelled opening may still take: a round trip."""


@dataclass(frozen=True)
class Timing:
    """How patient a connection is, in seconds. A dead line is noticed after `keepalive * (missed + 1)`."""

    connect: float = 20.0
    keepalive: float = 10.0
    missed: int = 3
    idle: float = 300.0
    back_off: float = 0.5
    back_off_limit: float = 5.0  # no answer: another try costs nothing, and the machine may be back
    refused_limit: float = 30.0  # refused: frequent tries would look like an attack


HANDSHAKES = 4
_NO_CERTIFICATES = "-*-cert-*"
_NO_COMMON = re.compile(r"No matching (.+) algorithm found, sent .* and received (.*)")


class ChannelRefused(Exception):
    """The server opens no further channel on this connection; nothing was started."""


class SshLine:
    """One authenticated connection. `used` and `limit` count channels; the pool keeps them."""

    def __init__(
        self,
        endpoint: SshEndpoint,
        connection: asyncssh.SSHClientConnection,
        tunnel: SshLine | None,
        proxy: ProxyTunnel | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.used = 0
        self.limit = MAX_CHANNELS
        self.served = False  # it has opened a channel
        self.suspect = False  # gave no answer once: finish what runs on it, start nothing on it
        self.since = time.monotonic()
        self.since_idle = self.since
        self._connection = connection
        self._tunnel = tunnel
        self._proxy = proxy
        key = connection.get_server_host_key()
        self.fingerprint = key.get_fingerprint() if key else ""

    @property
    def is_lost(self) -> bool:
        """Tell whether the connection is known to be gone."""
        return bool(self._connection.is_closed())

    async def open(
        self, session: RemoteSession, command: str, *, term: str = "", size: Size | None = None
    ) -> None:
        """Start `command` on a new channel, on a terminal when `size` is given.

        Raises `ChannelRefused` (nothing started, try another connection) or `ConnectionLost`.
        """
        terminal: dict[str, Any] = (
            {"request_pty": "force", "term_type": term, "term_size": (size.columns, size.rows)}
            if size
            else {"request_pty": False}
        )
        try:
            opening = asyncio.ensure_future(
                self._connection.create_session(
                    lambda: session,  # type: ignore[arg-type, return-value]  # has the methods, not the base class
                    command,
                    encoding=None,
                    window=WINDOW if size else BULK_WINDOW,
                    env={},
                    send_env=[],
                    x11_forwarding=False,
                    **terminal,
                )
            )
            channel, _ = await _to_its_end(opening)
        except asyncssh.ChannelOpenError as error:
            if self.is_lost:
                raise broken(error, self.endpoint) from error
            if error.code in (asyncssh.OPEN_REQUEST_PTY_FAILED, asyncssh.OPEN_REQUEST_SESSION_FAILED):
                raise TransportError(
                    f"Starting a command on {self.endpoint} failed: {error.reason}.",
                    hint="The server forbids it: look at its sshd_config and at the key's options.",
                ) from error
            raise ChannelRefused(error.reason) from error
        except (asyncssh.Error, OSError) as error:
            raise broken(error, self.endpoint) from error
        channel.set_write_buffer_limits(high=64 * 1024, low=16 * 1024)

    async def close(self, patience: float = 2.0) -> None:
        """End the connection and wait until its socket is closed."""
        self._connection.close()
        try:
            async with asyncio.timeout(patience):
                await self._connection.wait_closed()
        except TimeoutError:
            self._connection.abort()
            await self._connection.wait_closed()
        finally:
            await _end(self._tunnel, self._proxy)


async def _to_its_end(opening: asyncio.Future[Any]) -> Any:
    """Wait for a channel. A cancelled wait ends when the channel is open all the same, or refused.

    The server opens what it was asked to open. A channel that no caller knows of would stay open and
    count against MaxSessions; so a caller that gives up still gets it, to end it.
    """
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.wait([opening], timeout=OPEN_PATIENCE)
        opening.add_done_callback(lambda done: done.cancelled() or done.exception())  # marks it as retrieved
        raise


class _Client(asyncssh.SSHClient):
    """Decides about the host's key, and remembers why it said no."""

    def __init__(self, endpoint: SshEndpoint, said: HostOptions | None) -> None:
        self._endpoint = endpoint
        theirs = said.known_hosts if said is not None else [USER_KNOWN_HOSTS.expanduser()]
        self._files = [path for path in theirs if path.is_file()]
        self._revoked = said.revoked if said is not None else ()
        self.refusal: TransportError | None = None
        self.port = endpoint.port or 22
        self.knows_host = False
        self.knows_authority = False

    def trusted(self, host: str, addr: str, port: int | None) -> Any:
        """Return the keys trusted for the host: ours, else what the user's own known_hosts say."""
        self.port = port or 22
        if pins := host_trust.pinned(self._endpoint, self.port):
            keys, authorities = [asyncssh.import_public_key(str(pin)) for pin in pins], []
        else:
            keys = known_hosts.keys_of(self._files, host, addr, port)
            authorities = known_hosts.authorities_of(self._files, host, addr, port)
        self.knows_host, self.knows_authority = bool(keys), bool(authorities)
        revoked = known_hosts.revoked_of([self._endpoint.known_hosts, *self._files], host, addr, port)
        return keys, authorities, [*revoked, *self._revoked]

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Judge a key that is not among the trusted ones."""
        known, where = host_trust.pinned(self._endpoint, port), self._endpoint.known_hosts
        at = port if port != 22 else None
        for path in [] if known else self._files:
            if theirs := known_hosts.keys_of([path], host, addr, at):
                known, where = [_host_key(one) for one in theirs], path
                break
        if not known and key in known_hosts.keys_of_name(self._files, host, addr):
            return True
        self.refusal = host_trust.refusal(self._endpoint, port, _host_key(key), known, where)
        return self.refusal is None


def _host_key(key: asyncssh.SSHKey) -> HostKey:
    return HostKey.parse(key.export_public_key("openssh").decode())


async def connect(
    endpoint: SshEndpoint, timing: Timing | None = None, behind: tuple[SshEndpoint, ...] = ()
) -> SshLine:
    """Open one connection. Raises `ConnectFailed`, `AuthRefused`, `HostKeyMismatch`, `NotConfigured`.

    `behind`: the hosts that are reached through this one.
    """
    timing = timing or Timing()
    said = await host_options(endpoint)
    before = endpoint.jump_host()
    proxy = ProxyTunnel(endpoint, endpoint.proxy_command) if endpoint.proxy_command else None
    if said is not None and not before and not proxy and endpoint.host is None:
        before = said.jump
        proxy = ProxyTunnel(endpoint, said.proxy_command, "its ProxyCommand") if said.proxy_command else None
    behind = (*behind, endpoint)
    if before is not None and any(
        (one.config_host, one.port) == (before.config_host, before.port) for one in behind
    ):
        raise NotConfigured(
            f"Connecting to {endpoint} failed: its ProxyJump leads back to {before.config_host}.",
            hint="Set `ProxyJump none` for the jump host in your OpenSSH configuration.",
        )
    tunnel = await connect(before, timing, behind) if before is not None else None
    client = _Client(endpoint, said)
    try:
        connection = await _connect(endpoint, timing, client, said, tunnel, proxy)
        line = SshLine(endpoint, connection, tunnel, proxy)
    except (asyncssh.Error, OSError, TimeoutError, ValueError) as error:
        meaning = client.refusal or refused(error, endpoint)
        if proxy is not None:
            meaning = proxy.explain(meaning)
        await _end(tunnel, proxy)
        raise meaning from error
    except BaseException:
        await _end(tunnel, proxy)
        raise
    try:
        await asyncio.to_thread(_pin, endpoint, connection, client.port)
    except BaseException as error:
        await line.close()  # no caller has it yet
        if isinstance(error, OSError):
            raise NotConfigured(
                f"Pinning the host key of {endpoint} in {endpoint.known_hosts} failed: {error.strerror}.",
                hint="Make the file writable, and see that its disk has room.",
            ) from error
        raise
    return line


async def _end(tunnel: SshLine | None, proxy: ProxyTunnel | None) -> None:
    """End what a connection stood on."""
    if tunnel is not None:
        await tunnel.close()
    if proxy is not None:
        await proxy.aclose()


async def _connect(
    endpoint: SshEndpoint,
    timing: Timing,
    client: _Client,
    said: HostOptions | None,
    tunnel: SshLine | None,
    proxy: ProxyTunnel | None,
) -> asyncssh.SSHClientConnection:
    options: dict[str, Any] = {
        "config": user_config(),
        "known_hosts": client.trusted,
        "client_factory": lambda: client,
        "encryption_algs": "^aes128-gcm@openssh.com",
        "compression_algs": None,
        "keepalive_interval": timing.keepalive,
        "keepalive_count_max": timing.missed,
        "connect_timeout": timing.connect,
        "login_timeout": timing.connect,
        "agent_forwarding": False,
        "utf8_decode_errors": "replace",  # a banner in Latin-1 ends no login
    }
    if endpoint.port is not None:
        options["port"] = endpoint.port
    if endpoint.user is not None:
        options["username"] = endpoint.user
    if said is not None:
        options |= said.keys
    if endpoint.key is not None:
        options["client_keys"] = [str(endpoint.key)]
        options |= _options_of_key(endpoint.key)
    connector = tunnel._connection if tunnel is not None else asyncio.get_running_loop()
    if endpoint.host is not None:
        options["tunnel"] = _Address(connector, endpoint.host)
    elif tunnel is not None:
        options["tunnel"] = connector
    elif proxy is not None:
        options["tunnel"] = proxy
    with tempfile.NamedTemporaryFile("w", prefix="offload-ssh-") as file:
        if said is not None:
            file.write(said.config)
            file.flush()
            options["config"] = [file.name]
        connection = await _connect_with(endpoint, client, options, 1 if proxy else HANDSHAKES)
    _quieten(connection)
    return connection


async def _connect_with(
    endpoint: SshEndpoint, client: _Client, options: dict[str, Any], tries: int
) -> asyncssh.SSHClientConnection:
    """Connect; ask again without what asyncssh cannot read, or for a host key of any type.

    `tries`: how often to ask for any host key.
    """
    try:
        return await asyncssh.connect(endpoint.config_host, **options)
    except asyncssh.ConfigParseError as error:
        text = await asyncio.to_thread(without_unknown_blocks, options["config"][0], error)
        if text is None:
            raise
        with tempfile.NamedTemporaryFile("w", prefix="offload-ssh-") as file:
            file.write(text)
            file.flush()
            return await asyncssh.connect(endpoint.config_host, **{**options, "config": [file.name]})
    except asyncssh.HostKeyNotVerifiable:
        if client.refusal is not None or client.knows_host or client.knows_authority:
            raise
        # It has a certificate of an authority that is not known; its key alone is judged as any other.
        return await asyncssh.connect(
            endpoint.config_host, **{**options, "server_host_key_algs": _NO_CERTIFICATES}
        )
    except (asyncssh.KeyExchangeFailed, asyncssh.ConnectionLost, ConnectionResetError) as error:
        # A proxy program that ended is not started again: another route may lead to the machine.
        if not client.knows_host or (tries == 1 and not isinstance(error, asyncssh.KeyExchangeFailed)):
            raise
        if (found := _NO_COMMON.search(str(error))) and "host key" not in found[1]:
            raise
        # The server may have no key of a type that we know of it. Ask for any: its refusal says which.
        options["server_host_key_algs"] = "default"
        return await _connect_again(endpoint, options, tries)


async def _connect_again(
    endpoint: SshEndpoint, options: dict[str, Any], tries: int
) -> asyncssh.SSHClientConnection:
    """Connect; a server that hung up before it sent its lists of algorithms is asked again."""
    while True:
        tries -= 1
        try:
            return await asyncssh.connect(endpoint.config_host, **options)
        except (asyncssh.ConnectionLost, ConnectionResetError):
            if not tries:
                raise


def _options_of_key(key: Path) -> dict[str, Any]:
    """Return what a key with a passphrase needs: an agent signs with it, and is asked for it alone."""
    if not _has_passphrase(key):
        return {}
    public = Path(f"{key}.pub")
    return {
        "ignore_encrypted": True,
        **({"agent_identities": [str(public)]} if public.is_file() else {}),
    }


def _has_passphrase(key: str | Path) -> bool:
    """Tell whether a private key cannot be read without a passphrase, which we do not ask for."""
    try:
        asyncssh.read_private_key(str(Path(key).expanduser()))
    except asyncssh.KeyImportError as error:
        return str(error).startswith("Passphrase")
    except (OSError, asyncssh.KeyEncryptionError):
        pass
    return False


def _quieten(connection: asyncssh.SSHClientConnection) -> None:
    """Leave out the empty packet that asyncssh sends before each of its packets.

    It hides the chained vector of CBC ciphers (RFC 4251, section 9.3.1). Ciphers with a nonce of their own
    have none; there it only doubles the work for each key that is typed. asyncssh has no setting for it.
    """
    if not str(connection.get_extra_info("send_cipher")).endswith(WITH_NONCE):
        return
    send = connection.send_packet

    def send_packet(kind: int, *parts: bytes, handler: Any = None) -> None:
        if kind != MSG_IGNORE:
            send(kind, *parts, handler=handler)

    connection.send_packet = send_packet  # type: ignore[assignment, method-assign]


class _Address:
    """Connects to an address of ours, whatever HostName the OpenSSH config has for the name."""

    def __init__(self, connector: Any, host: str) -> None:
        self._connector = connector
        self._host = host

    async def create_connection(self, factory: Any, _host: str, port: int) -> Any:
        """Open the connection that ssh will talk through."""
        return await self._connector.create_connection(factory, self._host, port)


def _pin(endpoint: SshEndpoint, connection: asyncssh.SSHClientConnection, port: int) -> None:
    key = connection.get_server_host_key()
    if key is not None:
        host_trust.pin_first(endpoint, port, _host_key(key))


def broken(error: BaseException, endpoint: SshEndpoint) -> ConnectionLost:
    """Return what a foreign error means after the login was done."""
    return ConnectionLost(
        f"Talking to {endpoint} failed: the connection broke ({_words(error)}).",
        hint="What runs there goes on. The same command connects again.",
    )


def _words(error: BaseException) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__


def refused(error: BaseException, endpoint: SshEndpoint) -> TransportError | NotConfigured:
    """Return what a foreign error means while connecting."""
    what = _words(error)
    start = f"Connecting to {endpoint} failed"
    if isinstance(error, asyncssh.PermissionDenied):
        if endpoint.key is not None and _has_passphrase(endpoint.key):
            key = endpoint.key
            return AuthRefused(
                f"{start}: the key {key} has a passphrase, and no ssh agent got us in with it ({what}).",
                hint=f"`ssh-add {key}` in the shell that starts Offload (also `serve`), or name another key.",
            )
        return AuthRefused(
            f"{start}: it accepts none of our keys ({what}).",
            hint="Try `ssh` to the same host by hand; then add the key there or to your agent.",
        )
    if "Too many authentication failures" in what:
        return AuthRefused(
            f"{start}: the server took no more keys before one was right ({what}).",
            hint="Your agent or configuration has many: name the right one for this host in ~/.ssh/config "
            "(`IdentityFile`, `IdentitiesOnly yes`).",
        )
    if isinstance(error, asyncssh.KeyExchangeFailed) and (found := _NO_COMMON.search(str(error))):
        kind, theirs = found[1], found[2].replace(",", ", ")
        return NotConfigured(
            f"{start}: Offload supports none of its {kind} algorithms: {theirs}.",
            hint="Allow another one in the server's sshd_config (for key exchange: "
            "`KexAlgorithms +curve25519-sha256`).",
        )
    if isinstance(error, asyncssh.HostKeyNotVerifiable) and "revoked" in what:
        return HostKeyMismatch(
            f"{start}: its host key is revoked by a line of a known_hosts or RevokedHostKeys file ({what}).",
            hint="The key may be in other hands: give the machine a new one.",
        )
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return HostKeyMismatch(f"{start}: {what}.", hint="Check the host's key by hand with `ssh`.")
    if isinstance(error, asyncssh.ConfigParseError):
        return NotConfigured(f"{start}: the OpenSSH config cannot be read ({what}).")
    if isinstance(error, (asyncssh.KeyImportError, asyncssh.KeyEncryptionError)) or (
        isinstance(error, FileNotFoundError) and endpoint.key is not None
    ):
        return NotConfigured(
            f"{start}: {f'the key {endpoint.key}' if endpoint.key else 'a key'} cannot be used ({what}).",
            hint="Try `ssh-keygen -y -f` with it; or name another key.",
        )
    if isinstance(error, socket.gaierror):
        return ConnectFailed(f"{start}: the name cannot be resolved ({what}).", hint="Check the host's name.")
    if isinstance(error, TimeoutError):
        return ConnectFailed(
            f"{start}: no answer in time.", hint="Is the machine up, and is there a way to it?"
        )
    return ConnectFailed(f"{start}: {what}.", hint="Is the machine up, and does its sshd listen there?")
