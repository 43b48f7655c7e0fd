"""An ordinary user whose account only those programs see that are started for them; and places in memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

PERSON = "offloader"
PERSON_ID = 61234
# The machine's own files stay as they are: other ones are seen by what is started in this way.
ACCOUNT = """
for file in passwd group subuid subgid; do mount --bind "$0/etc/$file" "/etc/$file" || exit; done
[ ! -e "$0/tun" ] || mount --bind "$0/tun" /dev/net/tun || exit
exec "$@"
"""
ENDED_SECONDS = 10.0


class Place:
    """A directory in memory: what is large is written quickly there, and gone at once."""

    def __init__(self, prefix: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=prefix))
        memory = ["-t", "tmpfs", "-o", "size=3g,mode=0755", "tmpfs", str(self.directory)]
        subprocess.run(["mount", *memory], check=True)
        self.home = self.directory / PERSON
        self.home.mkdir()

    @property
    def wrap(self) -> tuple[str, ...]:
        """Return the words before a program that is to be at home here."""
        return ()

    def remove(self) -> None:
        """Remove it, with what was mounted below."""
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if f"{line.split()[1]}/".startswith(f"{self.directory}/"):
                subprocess.run(["umount", "-l", line.split()[1]], capture_output=True, check=False)
        self.directory.rmdir()


class Person(Place):
    """A place with an account: `home` is theirs, and they have a range of users for containers."""

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        os.chown(self.home, PERSON_ID, PERSON_ID)
        etc = self.directory / "etc"
        etc.mkdir()
        lines = {
            "passwd": f"{PERSON}:x:{PERSON_ID}:{PERSON_ID}::{self.home}:/bin/sh",
            "group": f"{PERSON}:x:{PERSON_ID}:",
            "subuid": f"{PERSON}:6000000:65536",
            "subgid": f"{PERSON}:6000000:65536",
        }
        for name, line in lines.items():
            own = Path("/etc", name)
            own.touch()
            (etc / name).write_text(f"{own.read_text().rstrip()}\n{line}\n".lstrip())

    @property
    def wrap(self) -> tuple[str, ...]:
        """Return the words before a program that is to know the account."""
        return ("unshare", "--mount", "sh", "-c", ACCOUNT, str(self.directory))

    def argv(self, *words: str) -> list[str]:
        """Return the command line by which root runs `words` as the person."""
        who = [f"--reuid={PERSON_ID}", f"--regid={PERSON_ID}", "--clear-groups"]
        env = [f"HOME={self.home}", f"XDG_RUNTIME_DIR={self.home}"]
        return [*self.wrap, "setpriv", *who, "env", *env, *words]

    def end_all(self) -> None:
        """End everything that runs as the person, and wait until it has."""
        end = time.monotonic() + ENDED_SECONDS
        while pids := [int(e.name) for e in Path("/proc").glob("[0-9]*") if _is_theirs(e)]:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert time.monotonic() < end, f"still there: {pids}"
            time.sleep(0.05)


def _is_theirs(entry: Path) -> bool:
    with contextlib.suppress(OSError):
        status = (entry / "status").read_text()
        return f"\nUid:\t{PERSON_ID}\t" in status and "\nState:\tZ" not in status
    return False
