"""`manage.py serve`: the dashboard and the reconciler."""

from __future__ import annotations

import signal
import webbrowser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from jobs.cli.database import ensure_database
from jobs.errors import NotFound
from offload_web import secret_key, serving
from offload_web.login import LINK_SECONDS, allow_logins, end_logins, make_link, write_link_page


class Command(BaseCommand):
    """Runs the dashboard and the reconcile loop until Ctrl-C."""

    help = "Run the dashboard and the loop that drives the jobs."
    suppressed_base_arguments = {
        "--version", "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color",
        "--force-color", "--skip-checks",
    }  # fmt: skip

    def add_arguments(self, parser: CommandParser) -> None:
        """Take where to listen, and whether to open a browser."""
        parser.add_argument("--host", default=settings.OFFLOAD.host, help="address to listen on")
        parser.add_argument("--port", type=int, default=settings.OFFLOAD.port, help="port; 0: any free one")
        parser.add_argument("--no-open", action="store_true", help="only print the link; open no browser")
        parser.add_argument(
            "--link", action="store_true", help="print a new login link for the dashboard that runs, and exit"
        )
        parser.add_argument(
            "--open", action="store_true", help="with --link: open it in a browser instead, on a terminal"
        )
        parser.add_argument(
            "--filters", default="", help="with --link: filters of the inbox, like repository=owner/repo"
        )
        parser.add_argument("--logout", action="store_true", help="end the login of every browser, and exit")

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until a signal says stop."""
        home = Path(settings.OFFLOAD.home)
        if options["link"]:
            running = serving.read_serving(home)
            if running is None:
                raise NotFound("No dashboard is running.", hint="Start one: `offload serve`.")
            link = make_link(running.url, options["filters"])
            if options["open"] and self.stdout.isatty():
                webbrowser.open(write_link_page(link).as_uri())
                self.stdout.write(f"Opened {running.url}/ in your browser.")
            else:
                self.stdout.write(link)
            return
        if options["logout"]:
            end_logins()
            if serving.read_serving(home) is not None:
                allow_logins()
            self.stdout.write("Every login has ended. `serve --link` prints a new link.")
            return
        with serving.only_one(home), serving.listen(options["host"], options["port"]) as listener:
            ensure_database()
            self._serve(home, listener, options)

    def _serve(self, home: Path, listener: Any, options: dict[str, Any]) -> None:
        host, port = listener.getsockname()[:2]
        name = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104
        url = f"http://{name}:{port}{settings.DASHBOARD_PATH}"
        secret_key.require_private(home)
        allow_logins()
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
            webbrowser.open(write_link_page(link).as_uri())
        supervisor.run()
        end_logins()
