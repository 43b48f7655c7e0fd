"""Agent profiles on the worker: a template that we make, and a fresh copy of it for each start of an agent.

The template is never the user's own. A container mounts it read-only; on a bare worker, where a job could
write to it, each launch makes it again and a copy that is not what was meant is not used.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Dict, Iterable, Mapping, Optional

from jobs.remote.offload_runner import wire
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.locks import held
from jobs.remote.offload_runner.files.paths import AGENT, job_paths, state_dir
from jobs.remote.offload_runner.files.removal import remove_tree
from jobs.remote.offload_runner.protocol import EXIT_DATA, EXIT_USAGE

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")


def main(options: argparse.Namespace) -> int:
    """Make the template `{"name", "files": {path: text}}` what it must be; answer `{"type": "profile"}`."""
    if options.command == "copy-profile":
        return _copy(options)
    spec = wire.read_spec()
    name, files = str(spec.get("name", "")), spec.get("files")
    if not _NAME.fullmatch(name) or not isinstance(files, dict) or not all(map(_is_below, files)):
        raise RunnerError("usage", "%r is not a profile." % name, exit_code=EXIT_USAGE)
    state = state_dir(options.root)
    state.mkdir(parents=True, exist_ok=True)
    with held(str(state / "profile.lock"), what="The profile %s" % name):
        make_template(options.root / name, files)
    wire.emit({"type": "profile", "name": name})
    return 0


def _copy(options: argparse.Namespace) -> int:
    about = wire.read_spec()
    name = str(about.get("name", ""))
    if not _NAME.fullmatch(name):
        raise RunnerError("usage", "%r is not a profile." % name, exit_code=EXIT_USAGE)
    job = job_paths(options.root, options.session)
    home = job.place(AGENT).home / name
    copy(options.root / name, home, about["keep"], str(about["digest"]), about.get("places"))
    return 0


def _is_below(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts


def make_template(template: Path, files: Mapping[str, str]) -> None:
    """Bring a directory to exactly these files, readable for all and writable for none.

    In place: a container has the directory itself mounted.
    """
    if template.is_symlink() or (template.exists() and not template.is_dir()):
        template.unlink()
    template.mkdir(parents=True, exist_ok=True)
    wanted = {str(PurePosixPath(path)) for path in files}
    folders = {str(folder) for path in wanted for folder in PurePosixPath(path).parents} - {"."}
    for entry in sorted(template.rglob("*"), reverse=True):
        name = entry.relative_to(template).as_posix()
        kept = name in (folders if entry.is_dir() and not entry.is_symlink() else wanted)
        if not kept or entry.is_symlink():
            remove_tree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    for folder in [".", *sorted(folders)]:
        (template / folder).mkdir(exist_ok=True)
        os.chmod(str(template / folder), 0o755)  # noqa: S103 - the container's user reads it
    for name, text in files.items():
        path = template / name
        if _text(path) != text:
            draft = path.with_name(path.name + ".new")
            with contextlib.suppress(FileNotFoundError):
                draft.unlink()
            draft.write_text(text, encoding="utf-8")
            os.replace(str(draft), str(path))
        os.chmod(str(path), 0o444)


def copy(
    template: Path, home: Path, keep: Iterable[str], digest: str, places: Optional[Mapping[str, str]] = None
) -> None:
    """Make `home` a fresh copy of the template; of what was there only `keep` stays (an agent's sessions).

    `places`: what placeholders in its files stand for. Raises `RunnerError` (`profile_changed`) when the
    template is not the one that was meant.
    """
    files = _files(template)
    if hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest() != digest:
        raise RunnerError(
            "profile_changed",
            "The agent's profile %s is not what Offload put there, so it is not used." % template,
            "Something on this worker changed it. Start the job again: that writes it again.",
            EXIT_DATA,
        )
    aside = home.with_name(home.name + ".kept")
    if aside.is_symlink():
        aside.unlink()
    remove_tree(aside)
    if home.is_symlink() or home.is_file():
        home.unlink()
    if home.exists():
        os.rename(str(home), str(aside))
    home.mkdir(parents=True, mode=0o700)
    for name, text in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for placeholder, value in (places or {}).items():
            text = text.replace(placeholder, value)
        path.write_text(text, encoding="utf-8")
    for name in keep:
        old = aside / name
        if old.is_dir() and not any(
            part.is_symlink() for part in [old, *old.parents[: len(Path(name).parts)]]
        ):
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(str(old), str(home / name))
    remove_tree(aside)


def _files(template: Path) -> Dict[str, str]:
    found = {}
    for path in sorted(template.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            text = None if path.is_symlink() else _text(path)
            found[path.relative_to(template).as_posix()] = "?" if text is None else text
    return found


def _text(path: Path) -> "str | None":
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
