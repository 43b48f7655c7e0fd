"""A real image registry on a loopback port: Debian's, unpacked and not installed, so that no service is."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.docker_engine import CACHE, locked
from tests.support.sshd import free_port

START_SECONDS = 30.0
_PACKAGE = "docker-registry"


def registry_program() -> str | None:
    """Return the registry's program, fetched with apt at first use; None on a machine without either."""
    there = shutil.which(_PACKAGE)
    kept = CACHE / _PACKAGE
    if there or not shutil.which("apt-get"):
        return there
    with locked(CACHE / "registry.lock"):
        if not kept.exists():
            with tempfile.TemporaryDirectory(prefix="offload-registry-") as directory:
                fetch = "apt-get download -qq docker-registry && dpkg -x docker-registry_*.deb x"
                subprocess.run(["sh", "-ec", fetch], cwd=directory, check=True, capture_output=True)
                part = kept.with_suffix(".part")
                shutil.copy2(Path(directory, "x/usr/bin", _PACKAGE), part)
                part.rename(kept)
    return str(kept)


class Registry:
    """`address` is `host:port`, as in the name of an image."""

    def __init__(self, program: str, directory: Path) -> None:
        self.program = program
        self.directory = directory
        self.address = f"127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        config = self.directory / "config.yml"
        store = self.directory / "store"
        config.write_text(
            f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {store}}}}}\n"
            f"http: {{addr: '{self.address}'}}\n"
        )
        with (self.directory / "log").open("wb") as log:
            argv = [self.program, "serve", str(config)]
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < end, "the registry does not answer"
            time.sleep(0.05)
        return self

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/v2/", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
