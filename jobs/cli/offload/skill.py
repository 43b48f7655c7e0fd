"""`offload skill [DIRECTORY]`: the skill that tells a coding agent how to use Offload."""

from __future__ import annotations

from pathlib import Path

from jobs.cli.request import Request
from jobs.errors import NotConfigured
from jobs.installation import skill_file


async def run(request: Request) -> int:
    """Print the skill, or write it to `DIRECTORY/offload/SKILL.md`. Raises `NotConfigured`."""
    text = skill_file().read_text(encoding="utf-8")
    if not request.words:
        print(text, end="")
        return 0
    path = _write(request.words[0], text)
    print(f"The skill is in {path}.")
    return 0


def _write(directory: str, text: str) -> Path:
    path = Path(directory).expanduser() / "offload" / "SKILL.md"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        why = f"Writing {path} failed: {error.strerror}."
        raise NotConfigured(why, hint="Name another directory.") from error
    return path
