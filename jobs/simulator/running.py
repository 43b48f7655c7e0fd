"""The simulator that belongs to an Offload home: where it keeps things, and where it answers."""

from __future__ import annotations

import json
from pathlib import Path

from jobs.errors import NotConfigured


def place(home: Path) -> Path:
    """Return the directory of the simulator of a home."""
    return home / "simulator"


def machines(home: Path) -> Path:
    """Return the directory of the machines behind it."""
    return place(home) / "machines"


def read(home: Path) -> tuple[str, int]:
    """Return the URL and the process id of the simulator that was started last; empty and 0: never."""
    try:
        found = json.loads((place(home) / "running.json").read_text())
        return str(found["url"]), int(found["pid"])
    except (OSError, ValueError, KeyError):
        return "", 0


def note(home: Path, url: str, pid: int) -> None:
    """Keep where it answers now, and as which process."""
    (place(home) / "running.json").write_text(json.dumps({"url": url, "pid": pid}))


def address(home: Path) -> str:
    """Return where the API of a home's simulated machines is. Raises `NotConfigured`."""
    url, _ = read(home)
    if not url:
        raise NotConfigured(
            "This is a simulated machine, and its simulator was never started here.",
            hint="Any command of `manage.py fleet` starts it.",
        )
    return url
