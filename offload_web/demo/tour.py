"""What `make demo` does: review the sample pull request for real, then leave the dashboard running."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from django.conf import settings

from jobs import invocation
from jobs.errors import OffloadError
from offload_web.demo import sample
from offload_web.serving import Serving, read_serving

START_SECONDS = 30.0
STOP_SECONDS = 10.0


def run() -> int:
    """Build the sample, run its review to the verdict, start the dashboard, print the link.

    Returns the exit code: 0 when the tour worked, whatever the verdict (the sample deserves a `fail`).
    """
    home = Path(settings.OFFLOAD.home)
    repository = sample.build(home / "tinycart")
    print(f"A sample repository with pull request #{sample.NUMBER}: {repository}\n", flush=True)
    command = [str(sample.NUMBER), "review", "--repo", str(repository), "--wait"]
    print(f"$ {invocation.command(shlex.join(command))}", flush=True)
    review = subprocess.run([*invocation.program(), *command], check=False, stdin=subprocess.DEVNULL)
    if review.returncode not in (0, 20):
        return review.returncode
    serving = read_serving(home) or _start(home)
    print(
        f"\nThe dashboard runs at {serving.url} (stop it with `make demo-stop`). Log in with this link:\n"
        f"    {_login_link(serving)}\n\n"
        "Next:\n"
        f"    export OFFLOAD_HOME={home}\n"
        f"    {invocation.command()} {sample.NUMBER} review --repo {repository}"
        "    # back in its terminal\n"
        f"    {invocation.command('ls')}",
        flush=True,
    )
    return 0


def _login_link(serving: Serving) -> str:
    from offload_web.login import make_link

    return make_link(serving.url)


def _start(home: Path) -> Serving:
    """Start `serve` in a session of its own, so that it outlives this command."""
    log_path = home / "logs" / "serve.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    port = os.environ.get("OFFLOAD_PORT", "0")
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [*invocation.program(), "serve", "--port", port],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        serving = read_serving(home)
        if serving is not None:
            return serving
        time.sleep(0.1)
    raise OffloadError(f"Starting the dashboard failed; its log is {log_path}.", hint=_tail(log_path))


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])


def stop() -> int:
    """Stop the tour's dashboard. Jobs and their sessions stay."""
    home = Path(settings.OFFLOAD.home)
    serving = read_serving(home)
    if serving is None:
        print("No dashboard of the tour is running.")
        return 0
    with contextlib.suppress(ProcessLookupError):
        os.kill(serving.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while read_serving(home) is not None:
        if time.monotonic() > deadline:
            print(
                f"The dashboard (process {serving.pid}) did not stop in {STOP_SECONDS:g} s.", file=sys.stderr
            )
            return 1
        time.sleep(0.05)
    print("The dashboard has stopped.")
    return 0
