"""The container of a simulated machine, on this machine's engine: it lives and dies with the machine.

A machine learns of it from its metadata, as a real one does. Launches make it; here it is only started
again at the machine's start, killed at its stop, and removed when the machine is deleted.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

METADATA = "offload-container"
_FILE = "container.json"
_DEADLINE = 60.0


def metadata(engine: Sequence[str], name: str, label: str) -> dict[str, str]:
    """Return the metadata of a machine whose container is called `name`.

    `label`: what all its containers carry, those of single jobs too, as `name=value`.
    """
    return {METADATA: json.dumps({"engine": list(engine), "name": name, "label": label})}


class Container:
    """What the machine kept in the directory `place` knows of its container."""

    def __init__(self, place: Path) -> None:
        self._file = place / _FILE

    def learn(self, values: Mapping[str, str]) -> None:
        """Keep what the metadata says, beyond the end of the simulator."""
        if METADATA in values:
            self._file.write_text(values[METADATA])
        else:
            self.remove()  # an earlier machine of this name had one

    def start(self) -> None:
        """Start it again, as an engine does when its machine boots; nothing when there is none yet."""
        for engine, name, label in self._known():
            if name in (_list(engine, label, "--all", "--format", "{{.Names}}") or ()):
                _ask([*engine, "start", name])

    def kill(self) -> None:
        """End all that runs in it, without a warning."""
        for engine, _, label in self._known():
            if found := _list(engine, label, "--quiet"):
                _ask([*engine, "kill", *found])

    def remove(self) -> None:
        """Remove it. What is known of it is kept for another try when the engine does not answer."""
        for engine, _, label in self._known():
            found = _list(engine, label, "--all", "--quiet")
            if found is not None and (not found or _ask([*engine, "rm", "--force", *found]) is not None):
                self._file.unlink()

    def _known(self) -> Iterator[tuple[list[str], str, str]]:
        if self._file.exists():
            said = json.loads(self._file.read_text())
            yield said["engine"], said["name"], said["label"]


def _list(engine: list[str], label: str, *words: str) -> list[str] | None:
    said = _ask([*engine, "ps", "--filter", f"label={label}", *words])
    return None if said is None else said.split()


def _ask(argv: list[str]) -> str | None:
    """Return what the engine says; None, with a line in the log, when it says no.

    A machine is switched off whether or not its engine answers.
    """
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_DEADLINE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"{' '.join(argv)}: {error}", file=sys.stderr, flush=True)
        return None
    if done.returncode != 0:
        print(f"{' '.join(argv)}: {done.stderr.strip()}", file=sys.stderr, flush=True)
        return None
    return done.stdout
