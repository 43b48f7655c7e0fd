"""On PYTHONPATH of a process under test: nothing leaves loopback, and what tried to is written down."""

import os
import sys

_LOG = os.environ["LOOPBACK_LOG"]
_HERE = ("127.", "::1", "localhost")


def _watch(event: str, args: tuple[object, ...]) -> None:
    if event == "socket.connect":
        to = args[1]
    elif event == "socket.getaddrinfo":
        to = args
    else:
        return
    host = str(to[0]) if isinstance(to, tuple) else "127.unix"
    if not host.startswith(_HERE):
        with open(_LOG, "a", encoding="utf-8") as log:
            log.write(f"{event} {host}\n")
        raise OSError(f"{host} is not loopback")


sys.addaudithook(_watch)
