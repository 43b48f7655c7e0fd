"""The runner as one file: the same sources give the same bytes, wherever and whenever it is built."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

PACKAGE = Path(__file__).parent / "offload_runner"
_PACKAGE_NAME = "jobs/remote/offload_runner"
_SHEBANG = b"#!/usr/bin/env python3\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_DIGEST_LENGTH = 16

# Checked before anything else is imported: the package does not even parse on an older Python.
_MAIN = """\
import json, sys
if sys.version_info < (3, 9):
    version = sys.version.split()[0]
    print(json.dumps({"magic": "offload-runner", "protocol": 1, "digest": "", "python": version}))
    print(json.dumps({"type": "error", "code": "python_too_old",
        "message": "Running the runner with Python %s failed: it needs 3.9 or later." % version,
        "hint": "Install a newer Python on the worker and name it in the worker's `python` setting."}))
    sys.exit(69)
from jobs.remote.offload_runner import compiled
compiled.install()
from jobs.remote.offload_runner.cli import main
sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Bundle:
    """A built runner: the bytes of the zipapp and the digest in its name."""

    data: bytes
    digest: str


def build(package: Path = PACKAGE) -> Bundle:
    """Build the runner from the sources in `package`.

    Members are stored, not compressed: zlib's output differs between its versions.
    """
    members = {"__main__.py": _MAIN.encode(), "jobs/__init__.py": b"", "jobs/remote/__init__.py": b""}
    for path in package.rglob("*.py"):
        members[f"{_PACKAGE_NAME}/{path.relative_to(package).as_posix()}"] = path.read_bytes()
    buffer = io.BytesIO()
    buffer.write(_SHEBANG)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            archive.writestr(info, members[name])
    data = buffer.getvalue()
    return Bundle(data, hashlib.sha256(data).hexdigest()[:_DIGEST_LENGTH])


@lru_cache(maxsize=1)
def current() -> Bundle:
    """Return the runner of this installation, built once per process."""
    return build()
