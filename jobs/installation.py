"""Files of Offload that are not Python modules: in a source tree, or in an installed package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_SOURCE_TREE = _PACKAGE.parent


def gcp_directory() -> Path:
    """Return the directory with the image's Dockerfile and the templates of machines."""
    in_source_tree = _SOURCE_TREE / ".gcp"
    return in_source_tree if in_source_tree.is_dir() else _PACKAGE / "data" / "gcp"


def skill_file() -> Path:
    """Return the skill that tells a coding agent how to use Offload."""
    in_source_tree = _SOURCE_TREE / ".gemini" / "skills" / "offload" / "SKILL.md"
    return in_source_tree if in_source_tree.is_file() else _PACKAGE / "data" / "skill" / "SKILL.md"
