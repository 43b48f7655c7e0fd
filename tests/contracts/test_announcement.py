"""The announcement of a remote command is never part of its output, however it is cut up, or lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.transport.ssh_session import RemoteSession

ANNOUNCEMENT = b"\x01offload 4711\x02"


async def received(pieces: list[bytes], *, terminal: bool) -> tuple[bytes, int | None]:
    out = bytearray()
    session = RemoteSession(out.extend, out.extend, terminal=terminal)
    for piece in pieces:
        session.data_received(piece, None)
    session.eof_received()
    return bytes(out), session.pid


@given(data=st.data())
@pytest.mark.parametrize("terminal", [False, True])
async def test_cut_anywhere(terminal: bool, data: st.DataObject) -> None:
    before = data.draw(st.sampled_from([b"", b"motd\r\n", b"\x01", b"\x01off"]))
    after = data.draw(st.sampled_from([b"", b"output", b"\x01offload 1\x02", b"x" * 100_000]))
    whole = before + ANNOUNCEMENT + after
    cuts = sorted(data.draw(st.lists(st.integers(0, 40), max_size=6)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    output, pid = await received(pieces, terminal=terminal)
    assert pid == 4711
    assert output == (before + after if terminal else after)


async def test_terminal_shows_at_once_what_comes_without_announcement() -> None:
    out = bytearray()
    session = RemoteSession(out.extend, out.extend, terminal=True)
    session.data_received(b"\x1b[?1049h", None)
    assert bytes(out) == b"\x1b[?1049h"
    assert session.started.is_set()
    session.data_received(b"\x01", None)
    session.data_received(b"more", None)
    assert bytes(out) == b"\x1b[?1049h\x01more"


async def test_a_login_shell_that_says_no_is_heard() -> None:
    output, pid = await received([b"This account is ", b"not available.\n"], terminal=False)
    assert (output, pid) == (b"This account is not available.\n", None)
