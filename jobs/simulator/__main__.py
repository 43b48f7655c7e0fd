"""`python -m jobs.simulator --state FILE`: the simulator as a process of its own."""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path

from jobs.simulator.machines import SshdMachines
from jobs.simulator.server import Simulator


def main() -> None:
    """Serve until SIGTERM or SIGINT; the first line of stdout is the URL."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, help="keep the state in this file")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long operations take")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--machines", type=Path, help="a real sshd and container behind each, kept here")
    parser.add_argument("--authorized", type=Path, help="the public keys that the machines let in")
    options = parser.parse_args()
    machines = None
    if options.machines:
        machines = SshdMachines(
            options.machines, options.authorized.read_text() if options.authorized else ""
        )
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    simulator = Simulator(state=options.state, seconds=options.seconds, machines=machines, port=options.port)
    with simulator:
        print(simulator.url, flush=True)
        done.wait()


if __name__ == "__main__":
    main()
