"""A secret that is planted, a task that prints it in every way, and a search of all that can be read."""

import base64
import json
import os
import tempfile
from pathlib import Path
from urllib.parse import quote

from django.core.management import call_command

from jobs.remote.offload_runner.engine.process import MARK

VALUE = "planted/Secret+with ü-7f3a91c2"
CONFIG = """
[[tasks]]
id = "deploy"
shell = "sh ./deploy.sh"
secrets = ["DEPLOY_TOKEN"]
"""
# Printed whole, encoded, and long enough for others to look while the task has it.
DEPLOY = r"""
echo "plain $DEPLOY_TOKEN"
printf %s "user:$DEPLOY_TOKEN" | base64 -w0; echo
printf %s "$DEPLOY_TOKEN" | od -An -tx1 | tr -d ' \n'; echo
echo "pid $$"
while ! test -f "$GO"; do sleep 0.1; done
"""
FORMS = [
    VALUE.encode(),
    json.dumps(VALUE)[1:-1].encode(),
    base64.b64encode(b"user:" + VALUE.encode())[8:-4],
    VALUE.encode().hex().encode(),
    quote(VALUE).encode(),
]


def files_with_it(*roots: Path) -> list[str]:
    found = []
    for root in roots:
        for folder, _, names in os.walk(root):
            for name in names:
                path = Path(folder, name)
                try:
                    data = path.read_bytes() if path.is_file() else b""
                except OSError:
                    continue  # no file that keeps anything: a name space, say
                if any(form in data for form in FORMS):
                    found.append(str(path))
    return found


def processes_with_it(but: set[int], mark: str = "") -> list[str]:
    """Look into argv and environment of every process there is; `but` those, and those with a task's mark."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        if int(entry.name) in but:
            continue
        for part in ("cmdline", "environ"):
            try:
                data = (entry / part).read_bytes()
            except OSError:
                continue
            if mark and f"{MARK}={mark}".encode() in data:
                continue  # a short one of the task's own, which began meanwhile
            if any(form in data for form in FORMS):
                found.append(f"{entry.name}/{part}: {(entry / 'cmdline').read_bytes()!r}")
    return found


def dumped(known: str) -> list[str]:
    """Return the forms of the secret that are in a dump of the database; `known` must be in it."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        call_command("dumpdata", output=file.name, verbosity=0)
        data = Path(file.name).read_bytes()
    assert known.encode() in data
    return [str(form) for form in FORMS if form in data]
