"""A machine with a network of its own: a name space, and a cable to ours that can be pulled for real."""

from __future__ import annotations

import os
import subprocess
from types import TracebackType
from typing import Self


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


class Island:
    """`address` is where programs started with `wrap` can listen, and can be reached from here."""

    def __init__(self) -> None:
        # Two test processes at once have two islands. The range is the one for tests between networks.
        number = os.getpid() % 16000
        self.name = f"offload-{number}"
        self.near = f"off{number}"
        block = f"198.{18 + number // 8192}.{number // 32 % 256}"
        first = number % 32 * 4
        self._ours, self.address = f"{block}.{first + 1}", f"{block}.{first + 2}"
        self.wrap = ("ip", "netns", "exec", self.name)

    def __enter__(self) -> Self:
        _ip("netns", "add", self.name)
        try:
            _ip("link", "add", self.near, "type", "veth", "peer", "name", "eth0", "netns", self.name)
            _ip("address", "add", f"{self._ours}/30", "dev", self.near)
            _ip("link", "set", self.near, "up")
            _ip("-n", self.name, "link", "set", "lo", "up")
            _ip("-n", self.name, "address", "add", f"{self.address}/30", "dev", "eth0")
            self.plug()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def pull(self) -> None:
        """Pull the cable, at the far end: here the route stays, and nothing answers any more."""
        _ip("-n", self.name, "link", "set", "eth0", "down")

    def plug(self) -> None:
        """Plug it in again."""
        _ip("-n", self.name, "link", "set", "eth0", "up")

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The cable goes first: a process that is slow to end keeps the name space, and must not keep that.
        for words in (["link", "delete", self.near], ["netns", "delete", self.name]):
            subprocess.run(["ip", *words], capture_output=True, check=False)
