"""Collects the licences of what the dashboard sends to browsers, from the lock files and the packages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Python packages with files below /static/.
PYTHON = ("django-htmx",)
_LICENCE_FILE = re.compile(r"licen[cs]e(\.\w+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Package:
    """A package that is served, whole or as a part of another one's file.

    `licence`: its SPDX expression; `text`: the licence itself, empty if the package has none.
    """

    name: str
    version: str
    licence: str
    text: str


def packages() -> list[Package]:
    """Return what is served, by name."""
    return sorted([*_browser_packages(), *_python_packages()], key=lambda package: package.name)


def _browser_packages() -> Iterator[Package]:
    # Also what the served files were built of: every dependency that is not for development alone.
    lock = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))
    for place, about in lock["packages"].items():
        if place and not about.get("dev"):
            files = sorted(file for file in (ROOT / place).iterdir() if _LICENCE_FILE.fullmatch(file.name))
            text = files[0].read_text(encoding="utf-8") if files else ""
            yield Package(place.rpartition("node_modules/")[2], about["version"], about["license"], text)


def _python_packages() -> Iterator[Package]:
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    for name in PYTHON:
        found = metadata.distribution(name)
        texts = [file for file in found.files or () if _LICENCE_FILE.fullmatch(file.name)]
        licence = found.metadata["License-Expression"] or found.metadata["License"]
        yield Package(name, pins[name], licence, texts[0].read_text() if texts else "")


def page() -> str:
    """Return docs/licences.md."""
    rows = [f"| {package.name} | {package.version} | {package.licence} |" for package in packages()]
    return (
        "# Licences\n\n<!-- Written by docs/generate.py from the lock files; run it after an update. -->\n\n"
        "The dashboard sends files of these packages to browsers, as they are or as a part of another one's\n"
        "file. Their texts are in [licences.txt](../offload_web/static/offload/licences.txt), which the\n"
        "dashboard serves at `/static/offload/licences.txt`. Offload's own is in [LICENSE](../LICENSE).\n\n"
        "| package | version | licence |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def texts() -> str:
    """Return offload_web/static/offload/licences.txt: each text once, after the packages that have it."""
    names: dict[str, list[str]] = {}
    for package in packages():
        text = package.text or f"The package has no text; its licence is {package.licence}."
        lines = [line.rstrip() for line in text.strip().splitlines()]
        names.setdefault("\n".join(lines), []).append(f"{package.name} {package.version}")
    parts = [f"{', '.join(of)}\n{'-' * 70}\n{text}\n" for text, of in names.items()]
    return "Licences of the packages that Offload's dashboard sends to browsers\n\n\n" + "\n\n".join(parts)
