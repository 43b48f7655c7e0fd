"""Carry ssh to a simulated machine over stdin and stdout, as `gcloud compute start-iap-tunnel` does."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from pathlib import Path


def tunnel(machines: Path) -> tuple[str, ...]:
    """Return the `tunnel` of a worker's configuration for the machines kept in a directory."""
    # By its path and with nothing else on the way: this is started for every connection.
    return (sys.executable, "-I", "-S", __file__, str(machines), "{vm}")


def main(machines: str, name: str) -> int:
    """Copy both ways until one side ends. Returns the exit code."""
    try:
        port = int(json.loads((Path(machines) / name / "running.json").read_text())["port"])
        line = socket.create_connection(("127.0.0.1", port), 30)
    except (OSError, ValueError) as error:
        print(f"The simulated machine {name} does not answer: {error}", file=sys.stderr)
        return 1
    line.settimeout(None)

    def send() -> None:
        while data := os.read(0, 65536):
            line.sendall(data)
        line.shutdown(socket.SHUT_WR)

    threading.Thread(target=send, daemon=True).start()
    while data := line.recv(65536):
        while data:
            data = data[os.write(1, data) :]
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
