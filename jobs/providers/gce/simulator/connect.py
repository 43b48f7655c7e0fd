"""Carry ssh to a simulated machine over stdin and stdout, as `gcloud compute start-iap-tunnel` does."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import urllib.request
from urllib.parse import quote


def tunnel(url: str) -> tuple[str, ...]:
    """Return the `tunnel` of a worker's configuration for the simulator at `url`."""
    return (sys.executable, "-m", "jobs.providers.gce.simulator.connect", url, "{vm}")


def main(url: str, name: str) -> int:
    """Copy both ways until one side ends. Returns the exit code."""
    try:
        with urllib.request.urlopen(f"{url}/simulator/port?name={quote(name)}", timeout=30) as answer:  # noqa: S310
            port = int(json.load(answer)["port"])
        line = socket.create_connection(("127.0.0.1", port), 30)
    except OSError as error:
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
