"""The command line inside a real terminal: attach, resize, keys, detach, come back; and it stays tidy."""

import os
import re
import signal
import subprocess
from pathlib import Path

from jobs.remote.layout import socket_for_root
from jobs.remote.offload_runner.screen.tmux_server import server_options
from tests.support.cli import Cli, Terminal
from tests.support.git_repos import RepoBuilder

SESSION = "offload-shop-3-review"


def tmux(cli: Cli, *words: str) -> str:
    socket = socket_for_root(str(cli.home / "worker"), str(Path.home() / ".offload"))
    tmux = ["tmux", *server_options(str(cli.home / "worker"), socket)]
    return subprocess.run(
        [*tmux, *words],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def until_clients(cli: Cli, terminal: Terminal, wanted: list[str]) -> None:
    """Read the terminal until tmux lists clients of exactly these sizes."""
    for _ in range(300):
        found = tmux(
            cli, "list-clients", "-t", f"={SESSION}", "-F", "#{client_width}x#{client_height}"
        ).split()
        if sorted(found) == sorted(wanted):
            return
        terminal.read(0.1)
    raise AssertionError(f"clients are {found}, not {wanted}; seen {terminal.seen.decode(errors='replace')}")


def detach(terminal: Terminal) -> None:
    terminal.type(b"\x02d")
    terminal.expect("Detached; the job keeps running.")
    assert terminal.wait() == 0
    assert terminal.is_restored()


def test_attach_resize_detach_and_come_back(cli: Cli, shop: RepoBuilder, tmp_path: Path) -> None:
    with cli.terminal("offload", "3", "--repo", shop.url, rows=30, columns=100) as terminal:
        terminal.expect("safe to close")
        until_clients(cli, terminal, ["100x30"])
        assert not terminal.is_restored()
        terminal.resize(40, 120)
        until_clients(cli, terminal, ["120x40"])
        detach(terminal)
    assert cli.json("offload", "status", "3", "--repo", shop.url)["job"]["state"] == "running"
    # The same command: the same session. A second one at once joins it too.
    with (
        cli.terminal("offload", "3", "--repo", shop.url, rows=30, columns=100) as first,
        cli.terminal(
            "offload", "attach", "3", "--repo", shop.url, "--read-only", rows=33, columns=90
        ) as second,
    ):
        until_clients(cli, first, ["100x30", "90x33"])
        detach(first)
        (tmp_path / "go").touch()
        second.expect("PASS", 60)
        # A read-only client cannot type, but it can leave.
        second.type(b"\x02d")
        assert second.wait() == 0
        assert second.is_restored()
        assert "Verdict on #3" in second.seen.decode(errors="replace")


def test_keys_pass_through_as_bytes(cli: Cli, shop: RepoBuilder) -> None:
    cli.run("offload", "3", "--repo", shop.url)
    with cli.terminal("offload", "shell", "3", "--repo", shop.url) as terminal:
        terminal.type_until(b"echo ready=$((20+2))\r", "ready=22")
        terminal.type(b"echo start=$((20+4)); cat\r")
        terminal.expect("start=24")
        # `cat` repeats the line; Ctrl-C then ends it on the far side, not this command.
        terminal.type(b"typed to cat\r")
        terminal.expect("typed to cat")
        # A shell interrupted while it starts `cat` may go on next to it, and readline may eat what follows.
        terminal.expect(" 0:cat")
        terminal.type_until(b"\x03\r\recho still=$((20+3))\r", "still=23")
        terminal.type(b"exit\r")
        assert terminal.wait() == 0
        assert terminal.is_restored()


def test_every_way_out_restores_the_terminal(cli: Cli, shop: RepoBuilder) -> None:
    cli.run("offload", "3", "--repo", shop.url)
    for number in (signal.SIGTERM, signal.SIGHUP):
        with cli.terminal("offload", "attach", "3", "--repo", shop.url) as terminal:
            until_clients(cli, terminal, ["100x30"])
            terminal.process.send_signal(number)
            assert terminal.wait() == 128 + number
            assert terminal.is_restored()
    with cli.terminal("offload", "attach", "3", "--repo", shop.url) as terminal:
        until_clients(cli, terminal, ["100x30"])
        pid = tmux(cli, "list-clients", "-t", f"={SESSION}", "-F", "#{client_pid}").strip()
        os.kill(int(pid), signal.SIGKILL)
        terminal.wait()
        assert terminal.is_restored()
    assert cli.json("offload", "status", "3", "--repo", shop.url)["job"]["state"] == "running"


def test_suspended_and_continued(cli: Cli, shop: RepoBuilder) -> None:
    cli.run("offload", "3", "--repo", shop.url)
    with cli.terminal("offload", "attach", "3", "--repo", shop.url) as terminal:
        until_clients(cli, terminal, ["100x30"])
        terminal.process.send_signal(signal.SIGTSTP)
        os.waitid(os.P_PID, terminal.process.pid, os.WSTOPPED | os.WNOWAIT)
        assert terminal.is_restored()
        terminal.process.send_signal(signal.SIGCONT)
        for _ in range(100):
            if not terminal.is_restored():
                break
            terminal.read(0.1)
        assert not terminal.is_restored()
        detach(terminal)


def test_a_question_is_asked_and_no_means_no(cli: Cli, shop: RepoBuilder) -> None:
    job = cli.json("offload", "1", "--repo", shop.url, "--wait")["job"]
    with cli.terminal("offload", "rm", "1", "--repo", shop.url) as terminal:
        terminal.expect("[y/N]")
        terminal.type(b"n\r")
        assert terminal.wait() == 5
    with cli.terminal("offload", "rm", "1", "--repo", shop.url) as terminal:
        terminal.expect("[y/N]")
        terminal.type(b"\x03")
        assert terminal.wait() == 130
    assert Path(job["worktree"]).exists()
    with cli.terminal("offload", "rm", "1", "--repo", shop.url) as terminal:
        terminal.expect("[y/N]")
        terminal.type(b"y\r")
        assert terminal.wait() == 0
    assert not Path(job["worktree"]).exists()


def test_the_watched_list_follows_a_job_and_fits_the_terminal(cli: Cli, shop: RepoBuilder) -> None:
    with cli.terminal("offload", "ls", "--watch", rows=6, columns=60) as terminal:
        terminal.expect("There are no jobs.")
        cli.run("offload", "3", "--repo", shop.url, "--detach")
        terminal.expect("1 job at ")
        terminal.expect("#3 review")
        cli.run("offload", "cancel", "3", "--repo", shop.url)
        terminal.expect("Done (1)")
        cli.run("offload", "3:again", "--repo", shop.url, "--detach")
        terminal.expect("more lines do not fit")
        terminal.type(b"\x03")
        assert terminal.wait() == 130
        assert terminal.is_restored()
    frames = re.sub(r"\x1b\[[0-9;]*m", "", terminal.seen.decode()).split("\x1b[H")[1:]
    assert all(frame.count("\n") <= 5 for frame in frames[:-1])
    lines = [line.removesuffix("\x1b[K") for frame in frames[:-1] for line in frame.split("\r\n")]
    assert [line for line in lines if len(line) > 60] == []
