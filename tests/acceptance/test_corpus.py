"""Releases of real projects as changes, and their tests without their source: the verdict names the tests.

`make corpus` runs these; they fetch source packages from PyPI and npm once. What each review must say is in
`corpus.toml`; the tests that it names were found by plain runs of the test runners on both trees.
"""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from jobs.remote.offload_runner.steps.sources import is_test
from tests.support.corpus import Corpus
from tests.support.git_repos import Content
from tests.support.open_source import Release, node_tools

pytestmark = [pytest.mark.corpus, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Change:
    """Two releases of a project.

    `verdict`, `proof` (results of changed test files by path) and `says` (parts of messages) are of the
    change from one to the other. `broken` and `new` fail when the tests of the new release run on the old
    source: they passed there before, or did not exist. `install` runs the project's own installation.
    """

    name: str
    base: str
    head: str
    registry: str = "pypi"
    install: bool = False
    verdict: str = "pass"
    proof: dict[str, str] = field(default_factory=dict)
    says: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)

    def files(self, version: str) -> dict[str, Content]:
        """Return the files of a release by path."""
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            Release(self.registry, self.name, version).unpack(root)
            return {
                str(path.relative_to(root)): path.read_bytes()
                for path in root.rglob("*")
                if path.is_file() and not path.is_symlink()
            }

    def __str__(self) -> str:
        return self.name


CHANGES = [
    Change(**item)
    for item in tomllib.loads((Path(__file__).parent / "corpus.toml").read_text(encoding="utf-8"))["change"]
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    made = Corpus(tmp_path_factory.mktemp("corpus"))
    if any(change.registry == "npm" for change in CHANGES):
        made.use_node_tools(node_tools())
    yield made
    made.close()


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_release(corpus: Corpus, change: Change) -> None:
    base, after = change.files(change.base), change.files(change.head)
    head = {**after, **dict.fromkeys(base.keys() - after.keys())}
    review = corpus.review(base, head, install=change.install)
    assert (review.verdict, review.proof) == (change.verdict, change.proof), review.told
    for part in change.says:
        assert any(part in message for message in review.messages), review.told


@pytest.mark.parametrize("change", [one for one in CHANGES if one.broken or one.new], ids=str)
def test_the_tests_of_a_release_without_its_source(corpus: Corpus, change: Change) -> None:
    base, after = change.files(change.base), change.files(change.head)
    tests = {path: text for path, text in after.items() if is_test(path)}
    review = corpus.review(base, tests, install=change.install)
    assert review.verdict == "fail", review.told
    assert review.tests("broken") == set(change.broken), review.told
    assert review.tests("new_failing") == set(change.new), review.told
