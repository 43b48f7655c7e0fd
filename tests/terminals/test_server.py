"""The terminal through the real server and real tmux: sizes, viewers, ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.support.leaks import until
from tests.support.sshd import Sshd
from tests.support.terminal_server import TerminalServer, shell_session
from tests.terminals.talk import clients, control, output, refusal, rows


async def test_typing_reaches_the_session_and_back(server: TerminalServer) -> None:
    socket = await server.connect(cols=90, rows=30)
    ready = await control(socket, "ready")
    assert ready["session"] == server.sessions[0]
    assert ready["role"] == "drive"
    socket.send(b"echo it-is-$((6*7))\r")
    await output(socket, "it-is-42")
    await socket.aclose()


async def test_a_resize_reaches_tmux(server: TerminalServer) -> None:
    socket = await server.connect(cols=90, rows=30)
    await control(socket, "ready")
    await output(socket, "offload-shop")
    socket.control("resize", cols=101, rows=33)
    wanted = "101x33"
    target = f"={server.sessions[0]}"
    await until(
        lambda: wanted in server.tmux("list-clients", "-t", target, "-F", "#{client_width}x#{client_height}"),
        "the new size",
    )
    await socket.aclose()


async def test_history_comes_first_and_is_not_doubled(server: TerminalServer) -> None:
    first = await server.connect(3, cols=80, rows=10)
    await control(first, "ready")
    first.send(b"clear; seq -f 'line-%g-' 1 60; echo en''d\r")
    await output(first, "end")
    await first.aclose()
    again = await server.connect(3, cols=80, rows=10)
    ready = await control(again, "ready")
    assert ready["history"] > 0
    seen = await output(again, "offload-shop-4")
    history, screen = seen.split("\x1b[0m", 1)
    assert history.count("line-1-") == history.count("line-30-") == 1
    assert "line-60-" in screen
    assert "line-60-" not in history  # tmux draws what is on the screen
    await again.aclose()


async def test_a_second_driver_follows_until_it_takes_over(server: TerminalServer) -> None:
    driver = await server.connect(1, cols=120, rows=40, tab="a")
    await control(driver, "ready")
    await output(driver, "offload-shop-2")
    phone = await server.connect(1, cols=30, rows=12, tab="b")
    ready = await control(phone, "ready")
    assert (ready["role"], ready["size"]) == ("follow", [120, 40])
    people = await control(driver, "viewers", lambda frame: len(frame["viewers"]) == 2)
    assert [person["role"] for person in people["viewers"]] == ["drive", "follow"]
    assert "120x39" in server.tmux(
        "display-message", "-p", "-t", f"={server.sessions[1]}:", "#{window_width}x#{window_height}"
    )
    driver.control("resize", cols=110, rows=35)
    assert (await control(phone, "size", lambda frame: frame["size"] == [110, 35]))["size"] == [110, 35]
    phone.control("take")
    assert (await control(driver, "ready"))["role"] == "follow"
    assert (await control(phone, "ready"))["role"] == "drive"
    await phone.aclose()
    # Without a driver, the viewer that requested it drives again.
    assert (await control(driver, "ready"))["role"] == "drive"
    await driver.aclose()


async def test_a_phone_drives_while_it_is_alone() -> None:
    with TerminalServer() as server:
        phone = await server.connect(cols=40, rows=30, mode="follow")
        assert (await control(phone, "ready"))["role"] == "drive"
        await output(phone, "offload-shop-1")
        width = ("display-message", "-p", "-t", f"={server.sessions[0]}:", "#{window_width}")
        await until(lambda: server.tmux(*width).strip() == "40", "the phone's width")
        desk = await server.connect(cols=120, rows=40)
        await control(desk, "ready", lambda frame: frame["role"] == "drive")
        desk.control("resize", cols=120, rows=40)  # as the page does then
        await control(phone, "ready", lambda frame: frame["role"] == "follow")
        await control(phone, "size", lambda frame: frame["size"] == [120, 40])
        await until(lambda: server.tmux(*width).strip() == "120", "the desk's width")
        # A phone that takes over keeps the session, also when the other connects again.
        phone.control("take")
        await control(phone, "ready", lambda frame: frame["role"] == "drive")
        await desk.aclose()
        desk = await server.connect(cols=120, rows=40)
        assert (await control(desk, "ready"))["role"] == "follow"
        await phone.aclose()
        await control(desk, "ready", lambda frame: frame["role"] == "drive")
        await desk.aclose()


async def test_a_watcher_sees_and_cannot_type(server: TerminalServer) -> None:
    driver = await server.connect(2, cols=80, rows=24)
    await control(driver, "ready")
    watcher = await server.connect(2, cols=40, rows=10, mode="watch")
    assert (await control(watcher, "ready"))["role"] == "watch"
    await until(lambda: any("read-only" in flags for flags in clients(server, 2)), "a read-only client")
    watcher.send(b"echo for''bidden\r")
    await control(watcher, "refused")
    driver.send(b"echo al''lowed\r")
    assert "forbidden" not in await output(watcher, "allowed")
    watcher.control("take")
    assert (await refusal(watcher))["code"] == "not_allowed"
    await driver.aclose()


async def test_the_same_tab_replaces_its_old_socket(server: TerminalServer) -> None:
    old = await server.connect(tab="same")
    await control(old, "ready")
    new = await server.connect(tab="same")
    assert (await control(new, "ready"))["role"] == "drive"
    assert (await refusal(old))["code"] == "replaced"
    await new.aclose()


async def test_a_side_shell_starts_in_the_worktree(server: TerminalServer) -> None:
    socket = await server.connect(kind="shell", cols=200)
    await control(socket, "ready")
    socket.send(b"pwd\r")
    await output(socket, str(server.worktree))
    assert shell_session(server.sessions[0]) in server.tmux("list-sessions", "-F", "#{session_name}")
    await socket.aclose()


async def test_the_end_of_a_terminal_is_told_and_it_can_be_attached_again(server: TerminalServer) -> None:
    socket = await server.connect(3)
    await control(socket, "ready")
    await output(socket, "offload-shop-4")
    server.tmux("detach-client", "-s", f"={server.sessions[3]}")
    ended = await control(socket, "exit")
    assert (ended["status"], ended["lost"]) == (0, False)
    socket.control("attach")
    await control(socket, "ready")
    await output(socket, "offload-shop-4")
    await socket.aclose()


async def test_what_was_typed_before_attaching_anew_arrives(server: TerminalServer) -> None:
    """The session is busy: tmux has not read the keys yet when the page asks for the history."""
    socket = await server.connect(3)
    await control(socket, "ready")
    await output(socket, "offload-shop-4")
    tmux = int(server.tmux("display-message", "-p", "#{pid}"))
    os.kill(tmux, signal.SIGSTOP)
    try:
        socket.send(b"echo arri''ved\r")
        socket.control("attach")
        for number in range(3):  # each an answer after the terminal before was let go
            socket.control("ping", id=number)
            await control(socket, "pong")
    finally:
        os.kill(tmux, signal.SIGCONT)
    await control(socket, "ready")
    await output(socket, "arrived")
    await until(lambda: len(clients(server, 3)) == 1, "the terminal before has gone")
    await socket.aclose()


async def test_a_far_session_says_when_its_line_breaks(tmp_path: Path) -> None:
    with Sshd(tmp_path / "sshd") as sshd:
        endpoint = sshd.endpoint()
        config = {
            "host": "127.0.0.1", "port": sshd.port, "user": endpoint.user, "key": str(sshd.client_key),
            "known_hosts": str(sshd.known_hosts),
        }  # fmt: skip
        with TerminalServer(provider="ssh", config=config) as server:
            socket = await server.connect()
            await control(socket, "ready")
            socket.send(b"echo far-$((1+1))\r")
            await output(socket, "far-2")
            sshd.cut()
            ended = await control(socket, "exit")
            assert ended["lost"]
            assert ended["message"]
            socket.control("attach")
            await control(socket, "ready")
            await output(socket, "far-2")
            await socket.aclose()


async def test_an_answer_meant_for_the_terminal_before_is_not_typed(server: TerminalServer) -> None:
    socket = await server.connect(3)
    first = await control(socket, "ready")
    socket.control("attached", n=first["n"])
    await output(socket, "offload-shop-4")
    socket.control("attach")
    again = await control(socket, "ready")
    socket.send(b"\x1b[>0;276;0c")  # late: asked by the tmux client that is gone
    socket.control("attached", n=again["n"])
    socket.send(b"echo cle''an\r")
    assert "276" not in await output(socket, "clean")
    await socket.aclose()


async def test_an_answer_is_given_to_tmux_once(server: TerminalServer) -> None:
    """A second one would be typed into the program."""
    socket = await server.connect(3)
    ready = await control(socket, "ready")
    socket.control("attached", n=ready["n"])
    await output(socket, "offload-shop-4")
    for _ in range(2):
        socket.send(b"\x1b[>0;276;0c")
    socket.send(b"echo tw''ice\r")
    assert "276" not in await output(socket, "twice")
    await socket.aclose()


async def test_who_came_and_went_is_written_down(server: TerminalServer) -> None:
    query = "SELECT kind, actor FROM jobs_jobevent WHERE id > ? AND data LIKE '%watch%' ORDER BY id"
    before = rows(server, "SELECT coalesce(max(id), 0) FROM jobs_jobevent")[0][0]
    socket = await server.connect(2, mode="watch")
    await control(socket, "ready")
    await socket.aclose()
    await until(lambda: len(rows(server, query, before)) >= 2, "two rows")
    assert rows(server, query, before) == [("terminal_attached", "local"), ("terminal_detached", "local")]
