"""A child of `serve`: `main(["web", "--fd", N, "--ready-fd", M])`, or `main(["reconcile"])`.

Its standard input is a pipe that only the parent can write to. When the parent is gone, by whatever
signal, reading it ends, and so does the child.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import threading
import time

GRACE_SECONDS = 10.0


def _end_with_parent(lifeline: int) -> None:
    while os.read(lifeline, 64):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


def _tie_to_parent() -> None:
    # The pipe moves off descriptor 0, so that nothing else reads it or hands it on.
    lifeline = os.dup(0)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=_end_with_parent, args=(lifeline,), name="lifeline", daemon=True).start()


def _check_bodies() -> None:
    # Imported when the apps are loaded: it needs their models.
    from offload_web import bodies

    bodies.install()


def _web(fd: int, ready_fd: int) -> None:
    with contextlib.suppress(ImportError):
        # Before Daphne makes its loop. A keystroke costs a third less; see `benchmarks/terminal.py`.
        import uvloop

        uvloop.install()
    from django.conf import settings

    from offload_web import eager
    from offload_web.address import OnlyBelow
    from offload_web.asgi import application

    eager.install()
    _check_bodies()

    def ready() -> None:
        # Handlers are in place and the socket is being served.
        os.write(ready_fd, b"ready\n")

    eager.EagerServer(
        application=OnlyBelow(application, settings.DASHBOARD_PATH),
        endpoints=[f"fd:fileno={fd}"],
        # No access log: addresses hold one-time tokens, and terminals would fill it.
        action_logger=None,
        verbosity=0,
        server_name="offload",
        websocket_timeout=-1,
        ping_interval=20,
        ping_timeout=30,
        ready_callable=ready,
    ).run()


def main(argv: list[str]) -> None:
    """Run one child until SIGTERM, or until the parent is gone."""
    parser = argparse.ArgumentParser(prog="offload_web.child")
    parser.add_argument("what", choices=["web", "reconcile"])
    parser.add_argument("--fd", type=int)
    parser.add_argument("--ready-fd", type=int)
    options = parser.parse_args(argv)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "offload_web.settings")
    _tie_to_parent()
    if options.what == "web":
        _web(options.fd, options.ready_fd)
        return
    from django.core.management import execute_from_command_line

    execute_from_command_line(["manage.py", "reconcile"])
