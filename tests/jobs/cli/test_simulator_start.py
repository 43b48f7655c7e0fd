"""A simulator that does not come up leaves nothing behind."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import NotConfigured
from jobs.operations import simulation


def children() -> set[str]:
    """Return the numbers of this process's children, also dead ones that were not waited for."""
    return {
        pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()
    }


@pytest.mark.parametrize("does", ["exit 3", "exec sleep 600", "echo http://127.0.0.1:9; exec sleep 600"])
def test_one_that_does_not_start_is_ended(
    does: str, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(simulation, "START_SECONDS", 0.3)
    monkeypatch.setattr(simulation, "_home", lambda: tmp_path)
    before = children()
    with pytest.raises(NotConfigured, match="does not start"):
        simulation.start()
    assert children() <= before
