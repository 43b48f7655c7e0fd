"""How to type a command of Offload here: `offload ...`, or `python manage.py offload ...`.

Messages name commands in backquotes in their short form, as in "See `offload fleet ls`." Interfaces pass what
they show through `render_commands`, so that every printed or copied command runs as it stands.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_SHORT = re.compile(r"`(?:offload|manage\.py offload|manage\.py(?= (?:doctor|fleet|serve)\b)) (?=[^`]+`)")


def program() -> list[str]:
    """Return the words that start Offload: those of this process, else those that work from any directory."""
    started = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path("-")
    if started.name == "manage.py":
        python = sys.orig_argv[0] if sys.orig_argv else sys.executable
        return [python, sys.argv[0], "offload"]
    if started.name == "offload":
        found = shutil.which("offload")
        same = found is not None and Path(found).resolve() == started.resolve()
        return ["offload"] if same else [str(started.absolute())]
    if (ROOT / "manage.py").is_file():
        return [sys.executable, str(ROOT / "manage.py"), "offload"]
    script = Path(sys.executable).with_name("offload")
    return [str(script)] if script.is_file() else ["offload"]


def command(words: str = "") -> str:
    """Return the shell command that runs `offload WORDS`. `words` is already quoted for the shell."""
    return f"{shlex.join(program())} {words}".rstrip()


def render_commands(text: str) -> str:
    """Return a message with each command in backquotes as it has to be typed here."""
    return _SHORT.sub(lambda _: f"`{command()} ", text)


def version() -> str:
    """Return the version: of the installed package, or of the source tree."""
    from importlib import metadata

    try:
        return metadata.version("offload")
    except metadata.PackageNotFoundError:
        import tomllib

        return str(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"])
