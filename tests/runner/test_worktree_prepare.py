"""Preparing a worktree from a real repository: what is fetched, what is answered, what is reused."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jobs.remote.offload_runner import cli
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.git import unsaved
from tests.support.bench import Bench, session_of
from tests.support.git_repos import RepoBuilder, git, large_repository


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "root")


@pytest.fixture
def shop(tmp_path: Path) -> RepoBuilder:
    shop = RepoBuilder(tmp_path / "shop").commit({"cart.py": "total = 1\n", "README.md": "Shop\n"}, "Begin")
    return shop.pull(1, {"cart.py": "total = 2\n"}, message="Count double")


def test_the_worktree_holds_the_commit_of_the_pull_request(bench: Bench, shop: RepoBuilder) -> None:
    base = shop.sha()
    shop.commit({"later.py": ""}, "Later on main")
    answer = bench.prepare(shop)
    assert answer["type"] == "prepared"
    assert answer["sha"] == shop.sha("refs/pull/1/head")
    assert (answer["base_ref"], answer["base_sha"], answer["merge_base"]) == (
        "refs/heads/main",
        shop.sha(),
        base,
    )
    assert (answer["subject"], answer["author"]) == ("Count double", "Ada Author <ada@example.com>")
    assert (answer["moved"], answer["gone"], answer["empty"]) == (None, False, False)
    assert answer["worktree"] == str(bench.worktree())
    assert (bench.worktree() / "cart.py").read_text() == "total = 2\n"
    assert not (bench.worktree() / "later.py").exists()
    assert git(bench.worktree(), "rev-parse", "HEAD") == answer["sha"]
    assert git(bench.worktree(), "status", "--porcelain") == ""
    assert git(bench.worktree(), "rev-parse", "--abbrev-ref", "HEAD") == "HEAD"
    assert json.loads((bench.job_dir() / "prepared.json").read_text()) == answer
    assert not list((bench.root / "worktrees").glob("*.making"))


def test_only_the_refs_asked_for_are_fetched(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(2, {"other.py": ""}).branch("wild").commit({"wild.py": ""}).checkout("main")
    git(shop.path, "tag", "v1")
    bench.prepare(shop)
    refs = git(bench.mirror, "for-each-ref", "--format=%(refname)").split()
    assert refs == [f"refs/offload/{session_of(1)}/base", f"refs/offload/{session_of(1)}/head"]
    with pytest.raises(AssertionError):
        git(bench.mirror, "cat-file", "-e", shop.sha("wild"))


def test_preparing_again_reuses_the_worktree(bench: Bench, shop: RepoBuilder) -> None:
    first = bench.prepare(shop)
    (bench.worktree() / "notes.txt").write_text("mine")
    assert bench.prepare(shop) == first
    assert (bench.worktree() / "notes.txt").read_text() == "mine"
    assert "Reusing" in bench.said


def test_a_moved_head_is_reported_and_the_old_commit_kept(bench: Bench, shop: RepoBuilder) -> None:
    old = bench.prepare(shop)["sha"]
    shop.pull(1, {"cart.py": "total = 3\n"}, message="Forced over it")
    new = shop.sha("refs/pull/1/head")
    answer = bench.prepare(shop)
    assert (answer["sha"], answer["moved"]) == (old, {"from": old, "to": new})
    assert (bench.worktree() / "cart.py").read_text() == "total = 2\n"
    shop.pull(1, {"cart.py": "total = 4\n"}, keep=True)
    assert bench.prepare(shop)["moved"]["to"] == shop.sha("refs/pull/1/head")


def test_a_deleted_head_keeps_the_worktree_and_says_so(bench: Bench, shop: RepoBuilder) -> None:
    old = bench.prepare(shop)["sha"]
    shop.delete("refs/pull/1/head")
    answer = bench.prepare(shop)
    assert (answer["sha"], answer["moved"], answer["gone"]) == (old, None, True)
    assert "deleted" in bench.said


def test_a_lost_record_is_written_again_from_the_refs(bench: Bench, shop: RepoBuilder) -> None:
    first = bench.prepare(shop)
    (bench.job_dir() / "prepared.json").unlink()
    shop.pull(1, {"cart.py": "total = 3\n"})
    again = bench.prepare(shop)
    assert again["sha"] == first["sha"]
    assert again["moved"] == {"from": first["sha"], "to": shop.sha("refs/pull/1/head")}
    assert again["merge_base"] == first["merge_base"]


def test_a_directory_that_is_no_worktree_is_never_removed(bench: Bench, shop: RepoBuilder) -> None:
    bench.worktree().mkdir(parents=True)
    (bench.worktree() / "thesis.txt").write_text("years of work")
    with pytest.raises(RunnerError, match="not a worktree") as caught:
        bench.prepare(shop)
    assert caught.value.code == "worktree_damaged"
    assert (bench.worktree() / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("ref", ["feature/x", "refs/heads/feature/x", "v1", "refs/tags/v1", "sha"])
def test_branches_tags_and_commits_are_heads_too(bench: Bench, shop: RepoBuilder, ref: str) -> None:
    shop.branch("feature/x").commit({"x.py": "x"}, "Feature").checkout("main")
    git(shop.path, "tag", "--annotate", "--message", "One", "v1", "feature/x")
    wanted = shop.sha("feature/x")
    answer = bench.prepare(shop, head={"ref": wanted if ref == "sha" else ref})
    assert (answer["sha"], answer["base_ref"]) == (wanted, "refs/heads/main")
    assert bench.prepare(shop, head={"ref": wanted if ref == "sha" else ref})["moved"] is None


def test_without_a_head_the_default_branch_is_taken(bench: Bench, shop: RepoBuilder) -> None:
    answer = bench.prepare(shop, head={"ref": ""})
    assert (answer["sha"], answer["ref"], answer["empty"]) == (shop.sha(), "refs/heads/main", True)


def test_the_base_asked_for_is_the_base(bench: Bench, shop: RepoBuilder) -> None:
    shop.branch("release").commit({"release.py": ""}).checkout("main")
    answer = bench.prepare(shop, base={"ref": "release"})
    assert (answer["base_ref"], answer["base_sha"]) == ("refs/heads/release", shop.sha("release"))


def test_a_branch_checked_out_in_a_clone_is_compared_with_main(bench: Bench, shop: RepoBuilder) -> None:
    shop.branch("feature").commit({"x.py": "x"})
    answer = bench.prepare(shop, head={"ref": "refs/heads/feature"})
    assert answer["base_ref"] == "refs/heads/main"
    assert [item["path"] for item in answer["facts"]["changed"]] == ["x.py"]


def test_the_default_branch_of_a_clone_is_its_origins(
    bench: Bench, shop: RepoBuilder, tmp_path: Path
) -> None:
    git(shop.path, "branch", "--move", "main", "trunk")
    git(tmp_path, "clone", "--quiet", shop.url, "clone")
    clone = tmp_path / "clone"
    git(clone, "-c", "user.name=A", "-c", "user.email=a@b", "checkout", "--quiet", "-b", "work")
    answer = bench.prepare(str(clone), head={"ref": "work"})
    assert answer["base_ref"] == "refs/heads/trunk"


def test_a_head_without_common_history_is_compared_as_it_is(bench: Bench, shop: RepoBuilder) -> None:
    git(shop.path, "checkout", "--quiet", "--orphan", "island")
    shop.commit({"cart.py": "total = 9\n"}).checkout("main")
    answer = bench.prepare(shop, head={"ref": "island"})
    assert answer["merge_base"] == answer["base_sha"] == shop.sha("main")
    assert "no common history" in bench.said


def test_a_missing_base_matters_only_to_who_needs_it(bench: Bench, shop: RepoBuilder) -> None:
    with pytest.raises(RunnerError) as caught:
        bench.prepare(shop, base={"ref": "refs/heads/mian"})
    assert (caught.value.code, caught.value.hint) == ("ref_not_found", "Did you mean main?")
    answer = bench.prepare(shop, base={"ref": "refs/heads/mian"}, needs_base=False)
    assert (answer["base_sha"], answer["merge_base"], answer["facts"]["changed"]) == ("", "", [])


def test_a_pull_request_of_a_fork_is_its_own_commit(bench: Bench, shop: RepoBuilder, tmp_path: Path) -> None:
    forge = shop.bare(tmp_path / "forge.git")
    git(tmp_path, "clone", "--quiet", str(forge), "fork")
    fork = tmp_path / "fork"
    (fork / "cart.py").write_text("total = 'fork'\n")
    git(fork, "commit", "--quiet", "--all", "--message", "From a fork, on its main")
    git(fork, "push", "--quiet", "origin", "HEAD:refs/pull/7/head")
    answer = bench.prepare(str(forge), 7)
    assert answer["sha"] == git(fork, "rev-parse", "HEAD")
    assert (bench.worktree(7) / "cart.py").read_text() == "total = 'fork'\n"
    assert answer["base_sha"] == shop.sha("main")


def test_a_shallow_clone_is_a_source_too(bench: Bench, shop: RepoBuilder, tmp_path: Path) -> None:
    shop.commit({"a.py": ""}).commit({"b.py": ""})
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{shop.path}", "shallow")
    answer = bench.prepare(str(tmp_path / "shallow"), head={"ref": "main"})
    assert answer["sha"] == shop.sha()


def test_a_partial_clone_is_a_source_too(bench: Bench, shop: RepoBuilder, tmp_path: Path) -> None:
    git(shop.path, "config", "uploadpack.allowFilter", "true")
    git(shop.path, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(tmp_path, "clone", "--quiet", "--filter=blob:none", "--no-checkout", f"file://{shop.path}", "partial")
    git(tmp_path / "partial", "fetch", "--quiet", "origin", "refs/pull/1/head:refs/pull/1/head")
    answer = bench.prepare(str(tmp_path / "partial"))
    assert answer["sha"] == shop.sha("refs/pull/1/head")
    assert (bench.worktree() / "cart.py").read_text() == "total = 2\n"


def test_a_repository_with_sha256_names(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "new"
    path.mkdir()
    git(path, "init", "--quiet", "--initial-branch=main", "--object-format=sha256")
    git(path, "commit", "--quiet", "--allow-empty", "--message", "Begin")
    answer = bench.prepare(str(path), head={"ref": "main"})
    assert len(answer["sha"]) == 64


def test_submodules_are_there(bench: Bench, shop: RepoBuilder, tmp_path: Path) -> None:
    library = RepoBuilder(tmp_path / "library").commit({"lib.py": "lib\n"})
    shop.submodule(library, "vendor/lib").commit(message="Add the library").pull(
        1, {"cart.py": "total = 2\n"}
    )
    answer = bench.prepare(shop)
    assert answer["facts"]["has_submodules"]
    assert (bench.worktree() / "vendor/lib/lib.py").read_text() == "lib\n"
    assert git(bench.worktree(), "status", "--porcelain") == ""


def test_a_submodule_out_of_reach_is_a_note(bench: Bench, shop: RepoBuilder, tmp_path: Path) -> None:
    library = RepoBuilder(tmp_path / "library").commit({"lib.py": "lib\n"})
    shop.submodule(library, "vendor/lib").commit().pull(1, {"cart.py": "total = 2\n"})
    library.path.rename(tmp_path / "elsewhere")
    assert bench.prepare(shop)["sha"] == shop.sha("refs/pull/1/head")
    assert "Note: the submodules could not be fetched" in bench.said


def test_lfs_pointers_stay_pointers_even_when_the_filter_is_broken(
    bench: Bench, shop: RepoBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12\n"
    shop.pull(1, {".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "art.bin": pointer})
    config = tmp_path / "gitconfig"
    config.write_text(
        '[filter "lfs"]\n\tprocess = false\n\tsmudge = false\n\tclean = false\n\trequired = true\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    answer = bench.prepare(shop)
    assert (bench.worktree() / "art.bin").read_text() == pointer
    assert answer["facts"]["has_lfs"]


def test_hooks_of_the_user_do_not_run(
    bench: Bench, shop: RepoBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
        (hooks / name).chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(f"[core]\n\thooksPath = {hooks}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    bench.prepare(shop)
    assert not (tmp_path / "ran").exists()


# Each changes what git does, or refuses, in a command that stays on this machine.
SETTINGS = """
[safe]
    bareRepository = explicit
[core]
    autocrlf = true
    attributesFile = %(home)s/attributes
    excludesFile = %(home)s/ignored
    symlinks = false
    abbrev = 4
    bigFileThreshold = 1
[diff]
    noprefix = true
    renames = false
    context = 0
    orderFile = %(home)s/order
[color]
    ui = always
[status]
    showUntrackedFiles = no
[protocol]
    allow = never
[init]
    defaultRefFormat = reftable
"""


@pytest.mark.parametrize("settings", [SETTINGS, ""], ids=["hostile", "none"])
def test_settings_of_the_user_change_nothing(
    settings: str,
    bench: Bench,
    shop: RepoBuilder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shop.write({"z.py": "1\n2\n3\n4\n", ".gitattributes": "* text=auto\n"})
    (shop.path / "link").symlink_to("z.py")
    shop.commit().pull(5, {"z.py": None, "a.py": "1\n2\n3\n4\n", "cart.py": "new\n"})
    home = tmp_path / "person"
    (home / ".config" / "git").mkdir(parents=True)
    (home / ".gitconfig").write_text(settings % {"home": home} if settings else "")
    for name in ("attributes", ".config/git/attributes"):
        (home / name).write_text("*.py -diff text eol=crlf\n" if settings else "")
    for name in ("ignored", ".config/git/ignore"):
        (home / name).write_text("*\n" if settings else "")
    (home / "order").write_text("z.py\n")
    for name in ("GIT_CONFIG_GLOBAL", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    answer = bench.prepare(shop, 5)
    tree = bench.worktree(5)
    assert (tree / "link").is_symlink()
    assert (tree / "a.py").read_bytes() == b"1\n2\n3\n4\n"
    assert [(one["status"], one["path"], one["binary"]) for one in answer["facts"]["changed"]] == [
        ("R", "a.py", False),
        ("M", "cart.py", False),
    ]
    words = ["diff", "--session", tree.name, "--limit", "100000"]
    assert cli.main(["--root", str(bench.root), *words]) == 0
    diff = capfd.readouterr().out
    head = git(shop.path, "rev-parse", "--short=7", "refs/pull/5/head:cart.py")
    old = git(shop.path, "rev-parse", "--short=7", "main:cart.py")
    assert f"diff --git a/cart.py b/cart.py\nindex {old}..{head} 100644\n" in diff
    assert "rename from z.py\nrename to a.py\n" in diff
    (tree / "mine.txt").write_text("mine\n")
    assert unsaved.check_clean(bench.root, tree.name)["uncommitted"] == ["mine.txt"]


# What a job that means ill can do to the mirror: each would change, or run in, the next one's start.
TRAP = r"""
cd "$1" || exit
git config url."$2".insteadOf "$3"
git config filter.evil.smudge "touch $4; cat"
git config core.hooksPath "$PWD/hooks"
git config core.fsmonitor "touch $4"
git config core.attributesFile "$PWD/info/attributes"
git config extensions.worktreeConfig true
git config include.path "$PWD/more"
printf '[http]\n\tsslVerify = false\n\tproxy = http://127.0.0.1:9\n' >more
cp more config.worktree
rm -rf info/exclude && ln -s /etc/hostname info/exclude
echo '* filter=evil' >info/attributes
mkdir -p hooks objects/info
printf '#!/bin/sh\ntouch %s\n' "$4" >hooks/post-checkout
chmod +x hooks/post-checkout
echo "$2/.git/objects" >objects/info/alternates
head=$(git for-each-ref --format='%(objectname)' refs/offload | head -n 1)
git replace "$5" "$head"
"""


@pytest.mark.parametrize("name", ["info", "objects/info"])
def test_a_link_that_a_job_left_in_the_mirror_costs_nobody_a_file(
    bench: Bench, shop: RepoBuilder, tmp_path: Path, name: str
) -> None:
    bench.prepare(shop)
    shop.pull(2, {"cart.py": "total = 3\n"})
    precious = tmp_path / "precious"
    precious.mkdir()
    for file in ("attributes", "alternates", "exclude"):
        (precious / file).write_text("mine")
    there = bench.mirror / name
    if there.exists():
        shutil.rmtree(there)
    there.symlink_to(precious)
    bench.prepare(shop, 2)
    assert [(file.name, file.read_text()) for file in sorted(precious.iterdir())] == [
        ("alternates", "mine"),
        ("attributes", "mine"),
        ("exclude", "mine"),
    ]
    assert not there.is_symlink()


def test_refs_that_lead_elsewhere_are_refused(bench: Bench, shop: RepoBuilder, tmp_path: Path) -> None:
    bench.prepare(shop)
    shop.pull(2, {"cart.py": "total = 3\n"})
    (bench.mirror / "refs").rename(tmp_path / "refs")
    (bench.mirror / "refs").symlink_to(tmp_path / "refs")
    (tmp_path / "refs" / "replace").mkdir()
    with pytest.raises(RunnerError, match="its refs lead elsewhere"):
        bench.prepare(shop, 2)
    assert (tmp_path / "refs" / "replace").is_dir()


def test_traps_that_a_job_left_in_the_mirror_are_gone(
    bench: Bench, shop: RepoBuilder, tmp_path: Path
) -> None:
    bench.prepare(shop)
    before = (bench.mirror / "config").read_bytes()
    evil = (
        RepoBuilder(tmp_path / "evil")
        .commit({"cart.py": "total = 666\n"})
        .pull(2, {"cart.py": "total = 666\n"})
    )
    shop.pull(2, {"cart.py": "total = 3\n"}, message="Count thrice")
    sprung = tmp_path / "sprung"
    words = [
        str(bench.mirror),
        str(evil.path),
        shop.url,
        str(sprung),
        git(bench.mirror, "rev-list", "-1", "--all"),
    ]
    subprocess.run(["sh", "-ec", TRAP, "sh", *words], check=True, capture_output=True)
    answer = bench.prepare(shop, 2)
    assert answer["sha"] == shop.sha("refs/pull/2/head")
    assert (bench.worktree(2) / "cart.py").read_text() == "total = 3\n"
    assert not sprung.exists()
    assert (bench.mirror / "config").read_bytes() == before
    assert "node_modules/" in (bench.mirror / "info" / "exclude").read_text()
    left = ("hooks", "config.worktree", "info/attributes", "objects/info/alternates", "refs/replace")
    assert [name for name in left if (bench.mirror / name).exists()] == []
    # The job that was there before is as it was.
    assert git(bench.worktree(), "status", "--porcelain") == ""


def test_a_repository_of_another_user_is_read(
    bench: Bench, shop: RepoBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert bench.prepare(shop)["sha"] == shop.sha("refs/pull/1/head")


def test_variables_that_point_git_elsewhere_are_ignored(
    bench: Bench, shop: RepoBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = shop.sha("refs/pull/1/head")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, "/nowhere")
    assert bench.prepare(shop)["sha"] == wanted


def test_a_repository_of_ten_thousand_files(bench: Bench, tmp_path: Path) -> None:
    large = large_repository(tmp_path / "large", 10_000)
    answer = bench.prepare(large)
    assert answer["empty"]
    assert (bench.worktree() / "dir19/file9999.txt").read_text() == "x\n"


@pytest.mark.parametrize("count", [8])
def test_many_at_once_never_collide(bench: Bench, shop: RepoBuilder, count: int) -> None:
    for number in range(1, count + 1):
        shop.pull(number, {"cart.py": f"total = {number}\n"})
    running = {number: bench.start(shop, number) for number in range(1, count + 1)}
    for number, process in running.items():
        _, stderr = process.communicate(timeout=100)
        assert process.returncode == 0, stderr.decode()
        assert (bench.worktree(number) / "cart.py").read_text() == f"total = {number}\n"
        assert git(bench.worktree(number), "rev-parse", "HEAD") == shop.sha(f"refs/pull/{number}/head")
    git(bench.mirror, "fsck", "--connectivity-only")


def test_the_same_job_prepared_twice_at_once_is_prepared_once(bench: Bench, shop: RepoBuilder) -> None:
    running = [bench.start(shop), bench.start(shop), bench.start(shop)]
    said = []
    for process in running:
        stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr.decode()
        said.append(stdout.decode())
    assert sum("Fetching" in text for text in said) == 1
    assert sum("Reusing" in text for text in said) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"session": "../../etc"},
        {"repository": {"slug": "../shop", "url": "/x"}},
        {"repository": {"slug": "shop"}},
        {"head": {"ref": "--upload-pack=touch /tmp/x"}},
        {"head": {"ref": "refs/heads/*"}},
        {"base": {"ref": "a b"}},
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(
    bench: Bench, shop: RepoBuilder, changes: dict[str, Any]
) -> None:
    with pytest.raises(RunnerError) as caught:
        bench.prepare(shop, **changes)
    assert caught.value.code == "usage"
    assert not (bench.root / "repos").exists()
