"""Docs that tests can fail."""

import re
from pathlib import Path

import pytest

from docs import generate
from jobs.remote.offload_runner import protocol
from jobs.states import TaskState

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", generate.PAGES)
def test_generated_pages_are_current(name: str) -> None:
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == generate.PAGES[name](), f"docs/{name} is old: run `python docs/generate.py`"


def test_the_layout_names_every_package() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    layout = page.partition("## Layout\n\n```\n")[2].partition("```")[0]
    named: set[Path] = set()
    above: list[Path] = [Path()]
    for line in layout.splitlines():
        words = re.match(r"( *)((?:\w+/ ?)+)", line)
        assert words is not None, line
        depth = len(words[1]) // 2
        packages = [above[depth] / word.rstrip("/") for word in words[2].split()]
        named |= set(packages)
        above[depth + 1 :] = [packages[0]]
    there = {
        file.parent.relative_to(ROOT)
        for top in ("offload_web", "terminals", "jobs")
        for file in (ROOT / top).rglob("__init__.py")
    }
    left_out = ("management", "migrations", "sample", "results")
    assert named == {package for package in there if not set(left_out) & set(package.parts)}


def test_links_between_pages_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert broken == []


def test_decision_records_have_unique_numbers() -> None:
    numbers = [path.name[:4] for path in (ROOT / "docs" / "adr").glob("*.md")]
    assert len(numbers) == len(set(numbers))
    assert all(number.isdigit() for number in numbers)


def test_both_sides_use_the_same_words_for_task_states() -> None:
    words = {
        protocol.PENDING, protocol.RUNNING, protocol.SUCCEEDED, protocol.FAILED,
        protocol.SKIPPED, protocol.CANCELLED, protocol.INTERRUPTED,
    }  # fmt: skip
    assert words == {state.value for state in TaskState}


def test_every_line_of_the_threat_model_has_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.endswith("| test |")]
    assert [row for row in rows if "`test_" not in row.rsplit(" | ", 1)[-1]] == []
    named = set(re.findall(r"`(test_\w+)`", page))
    assert named - _tests_in("") == set()


def test_every_attack_is_a_line_of_the_threat_model() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    assert _tests_in("adversary") - set(re.findall(r"`(test_\w+)`", page)) == set()


def _tests_in(folder: str) -> set[str]:
    """Return the names of the tests that are written below a folder of `tests`."""
    return {
        name
        for path in (ROOT / "tests" / folder).rglob("*.py")
        for name in re.findall(r"^(?:    )?(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.M)
    }
