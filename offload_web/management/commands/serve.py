"""`manage.py serve`: the dashboard, and the loop that drives the jobs."""

from __future__ import annotations

import signal
import webbrowser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from jobs.cli.database import ensure_database
from jobs.errors import OffloadError
from offload_web import serving
from offload_web.login import LINK_SECONDS, make_link


class Command(BaseCommand):
    """Runs the dashboard and the reconcile loop until Ctrl-C."""

    help = "Run the dashboard and the loop that drives the jobs."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take where to listen, and whether to open a browser."""
        parser.add_argument("--host", default=settings.OFFLOAD.host, help="address to listen on")
        parser.add_argument("--port", type=int, default=settings.OFFLOAD.port, help="port; 0: any free one")
        parser.add_argument("--no-open", action="store_true", help="only print the link; open no browser")
        parser.add_argument(
            "--link", action="store_true", help="print a new login link for the dashboard that runs, and exit"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until a signal says stop."""
        home = Path(settings.OFFLOAD.home)
        if options["link"]:
            running = serving.read_serving(home)
            if running is None:
                raise CommandError("No dashboard is running. Start one with `manage.py serve`.", returncode=3)
            self.stdout.write(make_link(running.url))
            return
        try:
            with serving.only_one(home), serving.listen(options["host"], options["port"]) as listener:
                ensure_database()
                self._serve(home, listener, options)
        except OffloadError as error:
            raise CommandError(str(error), returncode=error.exit_code) from error

    def _serve(self, home: Path, listener: Any, options: dict[str, Any]) -> None:
        host, port = listener.getsockname()[:2]
        url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104
        supervisor = serving.Supervisor(listener, url, home)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, supervisor.handle_signal)
        supervisor.start()
        link = make_link(url)
        self.stdout.write(
            f"Offload's dashboard is at {url}\n"
            f"Log in with this link (once, within {LINK_SECONDS // 60} minutes):\n    {link}\n"
            "Press Ctrl-C to stop it; running jobs go on without it."
        )
        self.stdout.flush()
        if not options["no_open"] and self.stdout.isatty():
            webbrowser.open(link)
        supervisor.run()
