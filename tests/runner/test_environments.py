"""Environments of bases: kept, copied for the next change, and out of the reach of every job's code."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from jobs.remote.offload_runner.files import paths
from jobs.remote.offload_runner.files.paths import JOB, PROOF
from jobs.remote.offload_runner.git import environments
from jobs.remote.offload_runner.steps.record import Job
from jobs.remote.offload_runner.steps.trees import execute, ready_base
from tests.support.bench import Bench, session_of
from tests.support.git_repos import RepoBuilder

# What an install does: it writes programs that name their tree, files next to them, and something in HOME.
SETUP = [
    "mkdir -p .venv/bin web/node_modules/a build; cp price build; chmod 755 .; "
    'printf "#!%s/.venv/bin/python\\n" "$PWD" > .venv/bin/tool; chmod 755 .venv/bin/tool; '
    'ln -sf "$PWD/.venv/bin/tool" .venv/bin/link; ln -sf tool .venv/bin/short; '
    "echo 1 > web/node_modules/a/x; "
    'echo "$HOME" > "$HOME/.installed"; echo x >> ../installed'
]
POISON = (
    "echo evil > .venv/bin/tool; echo evil > .venv/bin/new; echo evil >> web/node_modules/a/x;"
    "touch -d @0 .venv/bin/tool"
)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "root")


@pytest.fixture
def shop(tmp_path: Path) -> RepoBuilder:
    files = {
        "price": "1\n",
        "web/package.json": "{}",
        "requirements.txt": "a\n",
        ".gitignore": ".venv\nnode_modules\nbuild\n",
    }
    return RepoBuilder(tmp_path / "shop").commit(files, "Begin")


def prepare(bench: Bench, shop: RepoBuilder, number: int) -> Job:
    bench.prepare(shop, number, keeps_environment=True)
    return Job.load(paths.existing_job(bench.root, session_of(number)))


def installs(bench: Bench) -> int:
    return len((bench.root / "base" / "worktrees" / "installed").read_text().splitlines())


def kept(bench: Bench) -> list[Path]:
    folder = bench.root / "base" / "environments"
    return [entry for entry in folder.iterdir() if entry.is_dir()]


def check(tree: Path) -> None:
    """Check that a tree has the environment as the base's setup made it, and that it names this tree."""
    programs = tree / ".venv" / "bin"
    assert sorted(path.name for path in programs.iterdir()) == ["link", "short", "tool"]
    assert (programs / "tool").read_text() == f"#!{programs}/python\n"
    assert os.access(programs / "tool", os.X_OK)
    assert (os.readlink(programs / "link"), os.readlink(programs / "short")) == (f"{programs}/tool", "tool")
    assert (tree / "web/node_modules/a/x").read_text() == "1\n"


def test_the_next_change_starts_from_the_bases_environment_whatever_code_wrote(
    bench: Bench, shop: RepoBuilder
) -> None:
    for number in (1, 2, 3):
        shop.pull(number, {"price": f"{number + 1}\n"})
    for number in (1, 2, 3):
        job = prepare(bench, shop, number)
        head = job.paths.worktree
        assert job.prepared["environment"]["used"] is (number > 1)
        if number > 1:
            assert "Starting from the environment" in bench.said
            check(head)
            assert not (head / "build").exists(), "what the base built is not the head's"
            assert (head / "web/node_modules" / environments.MARK).exists()
        else:
            assert execute(job, head, "mkdir -p .venv/bin web/node_modules/a").passed
        assert execute(job, head, POISON, place=JOB).passed  # while the base is made
        base = ready_base(job, SETUP)
        check(base.path)
        assert base.built
        assert (base.path / "build/price").read_text() == "1\n"
        assert (job.paths.place(PROOF).home / ".installed").read_text() == f"{job.paths.place(PROOF).home}\n"
        assert installs(bench) == 1
        assert execute(job, base.path, POISON, place=PROOF).passed
        again = ready_base(job, SETUP, pure=True)  # made again, from what is kept
        check(again.path)
        assert installs(bench) == (1 if number > 1 else 2)
        (bench.root / "base/worktrees/installed").write_text("x\n")
        assert len(kept(bench)) == 1


def test_a_later_base_installs_over_it_and_a_change_of_what_is_installed_afresh(
    bench: Bench, shop: RepoBuilder
) -> None:
    shop.pull(1, {"price": "2\n"})
    ready_base(prepare(bench, shop, 1), SETUP)
    first = environments.find(bench.root, kept(bench)[0].name)
    shop.commit({"price": "7\n"}, "Later")
    shop.pull(2, {"price": "8\n"}).pull(3, {"requirements.txt": "b\n"})
    job = prepare(bench, shop, 2)
    check(job.paths.worktree)
    base = ready_base(job, SETUP)
    check(base.path)
    assert ((base.path / "build/price").read_text(), installs(bench)) == ("7\n", 2)
    second = environments.find(bench.root, kept(bench)[0].name)
    assert first is not None
    assert second is not None
    assert (second.commit, second.at) == (job.merge_base, first.at), "as old as its packages"
    job = prepare(bench, shop, 3)
    assert not job.prepared["environment"]["used"]
    assert not (job.paths.worktree / ".venv").exists()
    assert ready_base(job, SETUP).built
    assert installs(bench) == 3, "head and base start from the same environment or from none"


def test_one_that_was_written_to_or_is_too_old_is_not_used(
    bench: Bench, shop: RepoBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 5):
        shop.pull(number, {"price": f"{number + 1}\n"})
    ready_base(prepare(bench, shop, 1), SETUP)
    tool = kept(bench)[0] / "tree/.venv/bin/tool"
    about = tool.stat()
    tool.write_text(tool.read_text().replace("#", "!"))
    os.utime(tool, ns=(about.st_atime_ns, about.st_mtime_ns))
    job = prepare(bench, shop, 2)
    assert not job.prepared["environment"]["used"]
    assert kept(bench) == []
    ready_base(job, SETUP)
    assert prepare(bench, shop, 3).prepared["environment"]["used"]
    monkeypatch.setattr(environments, "_SECONDS", 0.0)
    assert not prepare(bench, shop, 4).prepared["environment"]["used"]
    assert kept(bench) == []


def test_those_that_are_too_large_together_go_the_oldest_first(
    bench: Bench, shop: RepoBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, inputs in ((1, "one"), (2, "two")):
        shop.commit({"requirements.txt": f"{inputs}\n"}, inputs).pull(number, {"price": f"{number + 1}\n"})
        ready_base(prepare(bench, shop, number), SETUP)
    first, second = sorted(kept(bench), key=lambda path: path.stat().st_ctime_ns)
    environments.prune(bench.root)
    assert len(kept(bench)) == 2
    size = json.loads((second / "kept.json").read_text())["kept"]["size"]
    monkeypatch.setattr(environments, "_MOST_TOGETHER", size)
    environments.prune(bench.root)
    assert kept(bench) == [second], first


def test_nothing_is_written_through_a_link_of_the_head(
    bench: Bench, shop: RepoBuilder, tmp_path: Path
) -> None:
    shop.pull(1, {"price": "2\n"})
    ready_base(prepare(bench, shop, 1), SETUP)
    outside = tmp_path / "outside"
    outside.mkdir()
    shop.pull(2, {"price": "3\n"})
    job = prepare(bench, shop, 2)
    found = environments.find(bench.root, job.prepared["environment"]["key"])
    assert found is not None
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "web").symlink_to(outside)
    (tree / ".venv").symlink_to(outside)
    assert environments.lay(bench.root, job.prepared["environment"]["key"], found, tree)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    "setup",
    ["printf 'a\\0%s' \"$PWD\" > .venv", "mkfifo .venv", "head -c 5000 /dev/zero > .venv"],
    ids=["binary", "special", "large"],
)
def test_what_cannot_be_moved_is_not_kept(
    bench: Bench,
    shop: RepoBuilder,
    setup: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(environments, "_MOST_BYTES", 4096)
    shop.pull(1, {"price": "2\n"})
    assert ready_base(prepare(bench, shop, 1), [setup]).built
    assert "is not kept for the next change" in capfd.readouterr().out
    assert kept(bench) == [] if (bench.root / "base" / "environments").exists() else True
    assert list((bench.root / "making").iterdir()) == []
