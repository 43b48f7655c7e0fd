"""Releases of real projects as changes, and their tests without their source: the verdict names the tests.

`make corpus` runs these; they fetch source packages from PyPI once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.remote.offload_runner.steps.sources import is_test
from tests.support.corpus import Corpus
from tests.support.open_source import Release

pytestmark = [pytest.mark.corpus, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    made = Corpus(tmp_path_factory.mktemp("corpus"))
    yield made
    made.close()


def files(name: str, version: str) -> dict[str, bytes]:
    """Return the files of a release by path."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        Release("pypi", name, version).unpack(root)
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@dataclass(frozen=True)
class Change:
    """Two releases of a project.

    `proof`: the results of changed test files by path. The tests of the new release alone, on the old source:
    `broken` pass before and fail then, `new` are new and fail (checked by plain pytest runs).
    """

    base: str
    head: str
    proof: dict[str, str]
    broken: frozenset[str] = frozenset()
    new: frozenset[str] = frozenset()


CHANGES = {
    "idna": Change("3.6", "3.7", {}),
    "parse": Change(
        "1.20.0",
        "1.20.1",
        {"tests/test_parse.py": "proof"},
        new=frozenset(
            {
                "tests/test_parse.py::test_datetime_with_various_subsecond_precision",
                "tests/test_parse.py::test_parser_format",
            }
        ),
    ),
    "sqlparse": Change(
        "0.4.3",
        "0.4.4",
        {
            "tests/test_grouping.py": "proof",
            "tests/test_keywords.py": "proof",
            "tests/test_parse.py": "proof",
            "tests/test_regressions.py": "proof",
            "tests/test_split.py": "proves_nothing",
        },
        frozenset(
            {
                "tests/test_grouping.py::test_grouping_function_not_in",
                *(
                    f"tests/test_keywords.py::TestSQLREGEX::test_float_numbers[{number}]"
                    for number in ("-.1", "-1.0", "-1.", ".1", "1.0", "1.")
                ),
            }
        ),
        frozenset(
            {
                "tests/test_parse.py::test_configurable_keywords",
                "tests/test_parse.py::test_configurable_regex",
                "tests/test_regressions.py::test_comment_between_cte_clauses_issue632",
            }
        ),
    ),
    "xmltodict": Change(
        "0.12.0",
        "0.13.0",
        {"tests/test_dicttoxml.py": "proof", "tests/test_xmltodict.py": "proof"},
        new=frozenset(
            {
                "tests/test_dicttoxml.py::DictToXMLTestCase::test_list_expand_iter",
                "tests/test_xmltodict.py::XMLToDictTestCase::test_comments",
                "tests/test_xmltodict.py::XMLToDictTestCase::test_namespace_collapse_all",
                "tests/test_xmltodict.py::XMLToDictTestCase::test_streaming_generator",
            }
        ),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_release_passes_and_its_tests_without_its_source_fail(corpus: Corpus, name: str) -> None:
    change = CHANGES[name]
    base, after = files(name, change.base), files(name, change.head)
    review = corpus.review(base, {**after, **dict.fromkeys(base.keys() - after.keys())})
    assert (review.verdict, review.proof) == ("pass", change.proof), review.told
    if not change.proof:
        assert any("No test proves this change" in message for message in review.messages), review.told
        return
    unfixed = corpus.review(base, {path: text for path, text in after.items() if is_test(path)})
    assert unfixed.verdict == "fail", unfixed.told
    assert unfixed.tests("broken") == change.broken, unfixed.told
    assert unfixed.tests("new_failing") == change.new, unfixed.told
