"""The page about playbooks says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from jobs.playbooks import overrides
from jobs.playbooks.registry import PLAYBOOKS
from tests.jobs.playbooks.facts import facts

PAGE = (Path(__file__).parents[3] / "docs" / "playbooks.md").read_text()


def test_every_action_is_listed_with_its_summary() -> None:
    listed = re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE, re.MULTILINE)
    assert listed[: len(PLAYBOOKS)] == [(playbook.action, playbook.summary) for playbook in PLAYBOOKS]


def test_the_example_is_understood_and_complete() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    read = overrides.read(facts(base={overrides.CONFIG: example}))
    assert set(read.commands) == {*overrides.ROLES, "test_file"}
    assert (read.parallel, read.timeout, read.tasks[0].id) == (4, 1800, "docs")
