"""A disk that a machine is given."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.runner_root import wait_for

DISK_BYTES = 96 * 2**20


class Disk:
    """A blank disk: a loop device on a sparse file."""

    def __init__(self, file: Path, size: int = DISK_BYTES) -> None:
        self.file = file
        with file.open("wb") as made:
            made.truncate(size)
        self.device = self._losetup("--find", "--show", str(file)).strip()

    def _losetup(self, *words: str) -> str:
        done = subprocess.run(["losetup", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"losetup {words}: {done.stderr}"
        return done.stdout

    def close(self) -> None:
        """Give the device back."""
        self._losetup("--detach", self.device)
        held = str(self.file)
        wait_for(lambda: held not in self._losetup("--list", "--noheadings", "--output", "BACK-FILE"))
        self.file.unlink()
