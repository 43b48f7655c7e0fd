"""Which branch a change is compared with, and the reason that the assessment gives."""

from __future__ import annotations

import socketserver
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.remote.offload_runner.git import bundles
from tests.support.bench import Bench
from tests.support.git_repos import RepoBuilder, git
from tests.support.serving import serving

DEFAULT = "the default branch"
NEAREST = "the long-lived branch that lacks the fewest commits of the change"
MAIN = ("refs/heads/main", DEFAULT)
FORGE = "which the forge merges the change into"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "root")


@pytest.fixture
def shop(tmp_path: Path) -> RepoBuilder:
    """Give a repository whose main went on after release-1 was cut, and release-1 too."""
    shop = RepoBuilder(tmp_path / "shop").commit({"cart.py": "1\n"})
    shop.branch("release-1").commit({"fix.py": "1\n"}).checkout("main")
    return shop.commit({"new.py": "1\n"}).commit({"new.py": "2\n"})


def merged(shop: RepoBuilder, number: int, into: str) -> RepoBuilder:
    """Make the ref of the merge that a forge tries, into a branch or a commit."""
    tree = git(shop.path, "write-tree")
    parents = ["-p", into, "-p", f"refs/pull/{number}/head"]
    made = git(shop.path, "commit-tree", tree, *parents, "-m", "Merge")
    git(shop.path, "update-ref", f"refs/pull/{number}/merge", made)
    return shop


def chosen(bench: Bench, shop: RepoBuilder, **changes: Any) -> tuple[str, str]:
    """Prepare, and the same from home with a bundle: both choose the same base; return it and the reason."""
    answer = bench.prepare(shop, **changes)
    base, because = answer["base_ref"], answer["base_reason"]
    if base:
        assert answer["base_sha"] == git(shop.path, "rev-parse", base)
    kept = git(bench.mirror, "for-each-ref", "--format=%(refname)", "refs/offload/").split()
    assert {ref.rpartition("/")[2] for ref in kept} <= {"head", "base"}
    sent = bundles.look_up(shop.path, bench.spec("/no/such/place/shop", **changes))
    assert (sent["base_ref"], sent["base_because"]) == (base, because)
    return base, because


def test_a_change_of_main_is_compared_with_main(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(1, {"cart.py": "2\n"})
    assert chosen(bench, shop) == MAIN
    assert "Comparing with" not in bench.said


def test_a_change_of_a_release_branch_is_compared_with_that(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(1, {"fix.py": "2\n"}, start="release-1")
    assert chosen(bench, shop) == ("refs/heads/release-1", NEAREST)
    assert f"Comparing with refs/heads/release-1, {NEAREST}" in bench.said


def test_an_old_change_stays_with_main_when_a_release_was_cut_since(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(1, {"cart.py": "2\n"})
    shop.branch("release-2").commit({"r.py": "1\n"}).checkout("main").commit({"new.py": "3\n"})
    assert chosen(bench, shop) == MAIN
    # The forge tried its merge before the cut: both branches have that commit.
    merged(shop, 1, "main~1")
    bench.job_dir().rename(bench.root / "gone")
    assert bundles.look_up(shop.path, bench.spec(shop.url))["base_ref"] == "refs/heads/main"


@pytest.mark.parametrize("stale", [False, True], ids=["fresh", "stale"])
def test_the_forges_merge_names_the_branch(bench: Bench, shop: RepoBuilder, stale: bool) -> None:
    """By its history this change could be one of main as well: only the forge knows."""
    shop.pull(1, {"cart.py": "2\n"}, start="main~2")
    merged(shop, 1, "release-1")
    if stale:
        shop.checkout("release-1").commit({"fix.py": "3\n"}).checkout("main").merge("release-1")
    assert chosen(bench, shop) == ("refs/heads/release-1", FORGE)


def test_a_change_on_top_of_another_one(bench: Bench, shop: RepoBuilder) -> None:
    """Its base is no long-lived branch; the forge's merge has it exactly."""
    shop.branch("ann/rework").commit({"cart.py": "3\n"}).checkout("main")
    shop.pull(1, {"more.py": "1\n"}, start="ann/rework")
    merged(shop, 1, "ann/rework")
    assert chosen(bench, shop) == ("refs/heads/ann/rework", FORGE)


def test_a_merge_that_says_nothing(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(1, {"cart.py": "2\n"})
    git(shop.path, "update-ref", "refs/pull/1/merge", git(shop.path, "rev-list", "--max-parents=0", "main"))
    assert chosen(bench, shop) == MAIN
    elsewhere = git(shop.path, "commit-tree", git(shop.path, "write-tree"), "-m", "x")
    merged(shop, 1, elsewhere)
    assert bundles.look_up(shop.path, bench.spec(shop.url))["base_ref"] == "refs/heads/main"


def test_histories_that_cross(bench: Bench, shop: RepoBuilder) -> None:
    shop.checkout("release-1").merge("main~1").checkout("main").merge("release-1~1")
    shop.pull(1, {"fix.py": "2\n"}, start="release-1")
    assert chosen(bench, shop) == ("refs/heads/release-1", NEAREST)


def test_a_change_that_a_release_took_already_is_still_one_of_main(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(1, {"cart.py": "2\n"})
    shop.checkout("release-1").merge("refs/pull/1/head").checkout("main")
    assert chosen(bench, shop) == MAIN


@pytest.mark.parametrize("said", ["release-1", "gone", "--upload-pack=x", "../main", ""])
def test_what_the_forge_says_counts_while_there_is_such_a_branch(
    bench: Bench, shop: RepoBuilder, said: str
) -> None:
    shop.pull(1, {"cart.py": "2\n"})
    expected = ("refs/heads/release-1", "as the forge says") if said == "release-1" else MAIN
    assert chosen(bench, shop, base={"ref": "", "said": f"refs/heads/{said}"}) == expected


def test_what_somebody_names_is_taken_with_the_reason(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(1, {"cart.py": "2\n"})
    named = {"ref": "release-1", "because": "named with --base"}
    assert chosen(bench, shop, base=named) == ("refs/heads/release-1", "named with --base")


@pytest.fixture
def far(tmp_path: Path) -> Iterator[str]:
    """Serve the repositories below `far` with git's own daemon; give the address."""
    argv = ["git", "daemon", "--inetd", "--export-all", f"--base-path={tmp_path / 'far'}"]

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            subprocess.run(argv, stdin=self.request, stdout=self.request, check=True)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield f"git://127.0.0.1:{server.server_address[1]}"


def test_a_far_repository_is_asked_for_all_that_is_needed(
    bench: Bench, shop: RepoBuilder, tmp_path: Path, far: str
) -> None:
    shop.pull(1, {"fix.py": "2\n"}, start="release-1")
    shop.pull(2, {"cart.py": "2\n"}, start="main~2")
    merged(shop, 2, "release-1").bare(tmp_path / "far" / "shop.git")
    for number, because in ((1, NEAREST), (2, FORGE)):
        answer = bench.prepare(f"{far}/shop.git", number)
        assert (answer["base_ref"], answer["base_reason"]) == ("refs/heads/release-1", because)
