"""The database is there and up to date before any command looks at it."""

from __future__ import annotations

import fcntl
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, OperationalError, connection

import jobs.migrations
from jobs.errors import NotConfigured


def ensure_database() -> None:
    """Make or migrate the database when it is missing or behind. Raises `NotConfigured`.

    Two processes at once take turns.
    """
    try:
        _ensure()
    except (OSError, OperationalError) as error:
        raise NotConfigured(
            f"Making the database of {settings.OFFLOAD.home} ready failed: {error}.",
            hint="Look whether the directory can be written to and its disk has free space, "
            "or set OFFLOAD_HOME to another one.",
        ) from error


def _ensure() -> None:
    if _is_current():
        return
    home = Path(settings.OFFLOAD.home)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / "migrate.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_current():
            from django.core.management import call_command

            call_command("migrate", verbosity=0, interactive=False)


def _is_current() -> bool:
    """Compare the names of our migrations with those applied; cheaper than Django's own loader."""
    if connection.vendor == "sqlite" and not Path(settings.DATABASES["default"]["NAME"]).exists():
        return False
    folder = Path(jobs.migrations.__path__[0])
    ours = {path.stem for path in folder.glob("[0-9]*.py")}
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT app, name FROM django_migrations WHERE app IN ('jobs', 'sessions')")
            rows = cursor.fetchall()
    except DatabaseError:
        return False
    return ours <= {name for app, name in rows if app == "jobs"} and any(app == "sessions" for app, _ in rows)
