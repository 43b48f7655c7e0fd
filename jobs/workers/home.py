"""Which Offload home this is: what it makes at a provider carries its id."""

from __future__ import annotations

import functools
import os
import re
import tempfile
import uuid
from pathlib import Path

from jobs.errors import NotConfigured

FILE = "home-id"
_ID = re.compile(r"[a-z0-9]{8,32}")


@functools.cache
def home_id(home: Path) -> str:
    """Return the id of a home, made at first use and the same ever after. Raises `NotConfigured`.

    Two processes that make it at once agree on one: the file appears whole, and the first one stays.
    """
    path = home / FILE
    try:
        if not path.exists():
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make(path)
        found = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotConfigured(
            f"Reading the id of this Offload home failed: {path}: {error}.",
            hint="Make its directory readable and writable.",
        ) from error
    if not _ID.fullmatch(found):
        raise NotConfigured(
            f"{path} does not hold the id of an Offload home.",
            hint="Write back what it held (the label offload-home of your machines says it), or remove the "
            "file: what was made until now is then of another home for `fleet sweep`.",
        )
    return found


def _make(path: Path) -> None:
    descriptor, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{FILE}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{uuid.uuid4().hex[:12]}\n")
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass  # another process was first
    finally:
        os.unlink(fresh)
