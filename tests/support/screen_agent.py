"""A program that behaves as an agent on a terminal does, and reports what it does as `generic` may.

It is a shell for these lines: `ask WHAT` asks for approval; `late WHAT` draws its question once a
file `draw` is there, and loses keys that come before; `deaf WHAT` loses them until a file `go` is there;
`work` says that it works until a file `go` is
there, `stop N` ends it; anything else is said back. `OFFLOAD_REPORTS` is where it reports.
"""

from __future__ import annotations

import json
import os
import sys
import termios
import time
import tty
from pathlib import Path

BEGIN, END = b"\x1b[200~", b"\x1b[201~"
count = 0


def report(state: str, detail: str = "") -> None:
    """Say what it does, as a whole file."""
    global count
    count += 1
    folder = Path(os.environ["OFFLOAD_REPORTS"])
    draft = folder / f".{count}"
    draft.write_text(json.dumps({"state": state, "detail": detail}))
    draft.rename(folder / f"{count:04}.json")


def say(text: str) -> None:
    """Write a line."""
    os.write(1, text.encode() + b"\r\n")


def read_line() -> str:
    """Return the line that is typed or pasted, as it was."""
    data = b""
    while True:
        data += os.read(0, 65536)
        pasted, _, rest = data.removeprefix(BEGIN).partition(END)
        if data.startswith(BEGIN):
            if rest == b"\r":
                return pasted.decode()
        elif data.endswith(b"\r"):
            return data[:-1].decode()


def wait_for(path: Path) -> None:
    """Wait until a file is there."""
    while not path.exists():
        time.sleep(0.01)


def main() -> None:
    """Serve until it is told to stop."""
    tty.setraw(0, termios.TCSANOW)
    os.write(1, b"\x1b[?2004h")
    key, who = os.environ.get("MODEL_KEY", "no key"), "CI" if "CI" in os.environ else "a person"
    say(f"at {os.getcwd()} with {key}, {who}")
    say(f"size {os.get_terminal_size(0)}")
    while True:
        report("input")
        line = read_line()
        report("thinking")
        say(f"got {line!r}")
        if line.startswith("ask "):
            report("approval", line[4:])
            say("said yes" if read_line() == "y" else "said no")
        elif line.startswith(("late ", "deaf ")):
            if line.startswith("deaf "):
                say("1. Yes")
            report("approval", line[5:])
            wait_for(Path("draw" if line.startswith("late ") else "go"))
            termios.tcflush(0, termios.TCIFLUSH)
            say("1. Yes, now")
            say("said yes" if read_line() == "y" else "said no")
        elif line == "work":
            wait_for(Path("go"))
        elif line == "size":
            say(f"size {os.get_terminal_size(0)}")
        elif line.startswith("stop "):
            sys.exit(int(line[5:]))


if __name__ == "__main__":
    main()
