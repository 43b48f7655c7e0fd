"""A gcloud of a test's own: it logs what it is asked, answers as the real one does, and fails in its ways."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ACCOUNT = "maintainer@example.com"

# What the real one (528.0.0) writes: without an account `auth list` gives [] and says nothing on stderr.
_PROGRAM = """#!{python} -ISs
import json, pathlib, sys
here = pathlib.Path({here!r})
state = json.loads((here / "gcloud.json").read_text())
words = [word for word in sys.argv[1:] if word != "--quiet"]
with (here / "gcloud.log").open("a") as log:
    log.write(" ".join(words) + "\\n")
command = " ".join(word for word in words if not word.startswith("--"))
if "broken" in state:
    sys.exit(print(state["broken"], file=sys.stderr) or 1)
if command == "config list":
    core = {{key: state[key] for key in ("account", "project") if state.get(key)}}
    print(json.dumps({{"core": core}}))
elif command == "auth list":
    print(json.dumps([{{"account": one, "status": "ACTIVE"}} for one in state["accounts"]]))
elif command in state["does"]:
    print(state["does"][command])
else:
    said = "ERROR: (gcloud." + ".".join(words[:2]) + ") You do not currently have an active account selected."
    sys.exit(print(said, file=sys.stderr) or 1)
"""


class StubGcloud:
    """A program called gcloud in `folder`, to be put on the PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        program = folder / "gcloud"
        program.write_text(_PROGRAM.format(python=sys.executable, here=str(folder)))
        program.chmod(0o755)
        self.set()

    def set(
        self,
        account: str = ACCOUNT,
        project: str = "",
        accounts: tuple[str, ...] | None = None,
        broken: str = "",
        does: dict[str, str] | None = None,
    ) -> None:
        """Say what it is set to. `does`: commands that succeed, with what they print."""
        known = accounts if accounts is not None else (account,) * bool(account)
        state = {"account": account, "project": project, "accounts": known, "does": does or {}}
        if broken:
            state["broken"] = broken
        (self.folder / "gcloud.json").write_text(json.dumps(state))

    def asked(self) -> list[str]:
        """Return the command lines so far, without its name."""
        log = self.folder / "gcloud.log"
        return log.read_text().splitlines() if log.exists() else []
