"""A repository whose contents and settings would have git, or tmux, run a program or read the host."""

# ruff: noqa: E501 - settings and names are not wrapped
from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.remote.offload_runner import cli
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.git import unsaved, worktree
from jobs.remote.offload_runner.git.command import Git
from tests.support.bench import Bench, session_of
from tests.support.cli import Terminal
from tests.support.git_repos import RepoBuilder, git
from tests.support.runner_root import SESSION, RunnerRoot, wait_for

S = session_of(1)
SECRET = "the-secret-of-the-host"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "root")


@pytest.fixture
def shop(tmp_path: Path) -> RepoBuilder:
    return RepoBuilder(tmp_path / "shop").commit({"cart.py": "total = 1\n"})


@pytest.fixture
def private(tmp_path: Path) -> RepoBuilder:
    """A repository of the user's that no one else may read."""
    return RepoBuilder(tmp_path / "private").commit({"key": SECRET})


def gitlink(shop: RepoBuilder, path: str, sha: str) -> None:
    git(shop.path, "update-index", "--add", "--cacheinfo", f"160000,{sha},{path}")


def pull(shop: RepoBuilder, change: Callable[[], None]) -> None:
    """Make pull request 1 of what `change` does to the index and the files."""
    git(shop.path, "checkout", "--quiet", "--detach", "main")
    change()
    git(shop.path, "commit", "--quiet", "--allow-empty", "--message", "\x1b]0;x\x07#(id) -n\n\nx")
    git(shop.path, "update-ref", "refs/pull/1/head", "HEAD")
    git(shop.path, "checkout", "--quiet", "--force", "main")


def holds(folder: Path, text: str) -> list[Path]:
    """Return the files below a directory that hold a text; no link is followed."""
    found = []
    for path, _, names in os.walk(folder):
        for name in names:
            file = Path(path) / name
            if file.is_file() and not file.is_symlink() and text.encode() in file.read_bytes():
                found.append(file)
    return found


def texts(data: Any) -> list[str]:
    if isinstance(data, dict):
        return [text for item in data.items() for part in item for text in texts(part)]
    if isinstance(data, (list, tuple)):
        return [text for item in data for text in texts(item)]
    return [data] if isinstance(data, str) else []


def go_through(bench: Bench, shop: RepoBuilder, capfd: pytest.CaptureFixture[str], url: str = "") -> Any:
    """Prepare, diff, look at, save and remove pull request 1; return the answer of the first."""
    answer = bench.prepare(url or shop)
    said = {key: value for key, value in answer.items() if key != "facts"}
    for text in (*texts(said), *texts(bench.lines)):
        assert text.isprintable(), repr(text)
        text.encode()
    mirror = Git(str(bench.mirror))
    mirror.beginning(
        1000_000, "diff", "--no-ext-diff", "--no-textconv", answer["merge_base"], answer["sha"], "--"
    )
    base = worktree.ensure_base(bench.root, S)
    assert (base / "cart.py").exists()
    (bench.worktree() / "mine").write_text("work")
    assert "mine" in unsaved.check_clean(bench.root, S)["uncommitted"]
    assert unsaved.rescue(bench.root, S) is not None
    capfd.readouterr()
    words = ["--root", str(bench.root), "--tmux-socket", f"none-{os.getpid()}"]
    assert cli.main([*words, "status", "--session", S]) == 0
    assert cli.main([*words, "clean", "--session", S, "--force"]) == 0
    capfd.readouterr()
    assert not bench.worktree().exists()
    return answer


# What a commit holds


def attributes(shop: RepoBuilder, run: str) -> None:
    settings = f"[core]\n\tfsmonitor = {run}\n\thooksPath = hooks\n\tsshCommand = {run}\n\tpager = {run}\n"
    settings += f'[diff "evil"]\n\ttextconv = {run}\n\tcommand = {run}\n[filter "evil"]\n\tclean = {run}\n'
    settings += f'\tsmudge = {run}\n\tprocess = {run}\n\trequired = true\n[merge "evil"]\n\tdriver = {run}\n'
    settings += '[includeIf "gitdir:/"]\n\tpath = /etc/passwd\n[include]\n\tpath = /etc/passwd\n'
    shop.write({
        ".gitattributes": "* filter=evil diff=evil merge=evil ident export-subst\n*.u working-tree-encoding=UTF-16LE\n",
        ".gitconfig": settings, ".config/git/config": settings, "a.u": "ü", ".lfsconfig": "[lfs]\n\turl = file:///\n",
        "hooks/post-checkout": f"#!/bin/sh\n{run}\n", "hooks/post-index-change": f"#!/bin/sh\n{run}\n",
        "config": settings, "HEAD": "ref: refs/heads/main\n", "objects/x": "", "refs/heads/x": "",
        "bare.git/config": settings, "bare.git/HEAD": "ref: refs/heads/main\n", "bare.git/objects/x": "",
        "bare.git/refs/x": "", ".mailmap": "\x1b[2J <a> <b>\n", ".gitignore": "!*\n",
    })  # fmt: skip
    git(shop.path, "add", "--all", "--force")


def names(shop: RepoBuilder, run: str) -> None:
    odd = [
        b"a\nb", b"\x1b]0;x\x07", b"-rf", b"--output=x", b"--upload-pack=x", b"#(" + run.encode().replace(b"/", b"\\") + b")",
        b"#{pid}", b"$(id)", b"`id`", b"'\"", b"\xff\xfe", b"\xe2\x80\xaetxt", b":(top)x", b"!x", b"@{-1}", b" ", b"a\\..\\b",
        b"con", b"x" * 250, b"\r", b"...", b"~", b"refs/heads/x",
    ]  # fmt: skip
    shop.write(dict.fromkeys(odd, "x"))
    git(shop.path, "add", "--all", "--force")


def links(shop: RepoBuilder, run: str) -> None:
    for name, target in (("a", "/etc/passwd"), ("b", "../../jobs"), ("c", "."), ("d", "/proc/self/environ"),
                         ("e", ".git/config"), (".gitignore", "/etc/passwd"), (".mailmap", "/etc/passwd")):  # fmt: skip
        (shop.path / name).symlink_to(target)
    git(shop.path, "add", "--all", "--force")


@pytest.mark.parametrize("trap", [attributes, names, links])
def test_what_a_commit_holds_runs_nothing(
    trap: Callable[[RepoBuilder, str], None], bench: Bench, shop: RepoBuilder, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    pull(shop, lambda: trap(shop, f"touch {tmp_path}/PWNED"))
    go_through(bench, shop, capfd)
    assert not (tmp_path / "PWNED").exists()


# Submodules


def modules(url: str, name: str = "x", path: str = "x", more: str = "") -> str:
    return f'[submodule "{name}"]\n\tpath = {path}\n\turl = {url}\n{more}'


@pytest.mark.parametrize("form", ["{path}", "file://{path}", "../private", "./../private", "{path}/.git"])
def test_a_change_cannot_name_a_private_repository_as_a_submodule(
    form: str, bench: Bench, shop: RepoBuilder, private: RepoBuilder, capfd: pytest.CaptureFixture[str]
) -> None:
    def change() -> None:
        shop.write({".gitmodules": modules(form.format(path=private.path))})
        git(shop.path, "add", ".gitmodules")
        gitlink(shop, "x", private.sha())

    pull(shop, change)
    bench.prepare(shop)
    assert "without your credentials" in bench.said
    assert holds(bench.root, SECRET) == []
    assert list((bench.worktree() / "x").iterdir()) == []
    go_through(bench, shop, capfd)


def test_another_commit_of_a_submodule_cannot_name_a_private_repository(
    bench: Bench, shop: RepoBuilder, private: RepoBuilder, tmp_path: Path
) -> None:
    library = RepoBuilder(tmp_path / "library").commit({"lib.py": "1\n"})
    shop.submodule(library, "lib").commit()
    good = library.sha()
    library.branch("evil").write({".gitmodules": modules(str(private.path))})
    git(library.path, "add", ".gitmodules")
    gitlink(library, "x", private.sha())
    git(library.path, "commit", "--quiet", "--message", "x")
    evil = library.sha()
    pull(shop, lambda: gitlink(shop, "lib", evil))
    bench.prepare(shop)
    assert (bench.worktree() / "lib" / "lib.py").exists(), "the submodule that the base has is there"
    assert holds(bench.root, SECRET) == []
    pull(shop, lambda: gitlink(shop, "lib", good))
    bench.prepare(shop, 1, session="offload-shop-1-again")
    assert "Note" not in bench.said


@pytest.mark.parametrize(
    "text",
    [
        modules("ext::sh -c 'touch {mark}'"), modules("ext::touch% {mark}"),
        modules("--upload-pack=touch {mark}"), modules("-u./x"), modules("ssh://-oProxyCommand=touch%20{mark}/x"),
        modules("./x", more="\tupdate = !touch {mark}\n"), modules("./x", name="../../../x"),
        modules("./x", path="../../../../x"), modules("./x", path="-x"), modules("./x", path=".git/hooks"),
        modules("http://127.0.0.1:1/\\nx"), modules("git@127.0.0.1:x"), "[submodule\n", "[include]\n\tpath = /etc/passwd\n",
    ],
)  # fmt: skip
def test_a_hostile_list_of_submodules_runs_nothing(
    text: str, bench: Bench, shop: RepoBuilder, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f"#!/bin/sh\ntouch {tmp_path}/PWNED\nexit 1\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}{os.pathsep}{os.environ['PATH']}")

    def change() -> None:
        shop.write({".gitmodules": text.replace("{mark}", f"{tmp_path}/PWNED")})
        git(shop.path, "add", ".gitmodules")
        gitlink(shop, "x", shop.sha())

    pull(shop, change)
    go_through(bench, shop, capfd)
    assert not (tmp_path / "PWNED").exists()
    assert not (tmp_path / "x").exists()


# The settings of the repository that is cloned, and of the job's own


def test_settings_of_the_repository_run_nothing(
    bench: Bench, shop: RepoBuilder, private: RepoBuilder, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shop.pull(1, {"cart.py": "total = 2\n"})
    run = tmp_path / "run"
    run.write_text(f"#!/bin/sh\ntouch {tmp_path}/PWNED\n")
    run.chmod(0o755)
    own = shop.path / ".git"
    for key in ("core.fsmonitor", "uploadpack.packObjectsHook", "core.sshCommand", "core.gitProxy", "core.pager",
                "core.alternateRefsCommand", "diff.external", "credential.helper"):  # fmt: skip
        git(shop.path, "config", key, str(run))
    git(shop.path, "config", "core.hooksPath", str(tmp_path / "hooks"))
    git(shop.path, "config", "includeIf.gitdir:/.path", str(private.path / "key"))
    (own / "objects" / "info" / "alternates").write_text(f"{private.path}/.git/objects\n")
    for name in ("post-checkout", "reference-transaction", "post-index-change"):
        for folder in (own / "hooks", tmp_path / "hooks"):
            folder.mkdir(exist_ok=True)
            (folder / name).write_text(run.read_text())
            (folder / name).chmod(0o755)
    go_through(bench, shop, capfd)
    assert not (tmp_path / "PWNED").exists()
    assert holds(bench.root, SECRET) == []


def planted(repository: Path, run: str, tmp_path: Path) -> None:
    """Have a repository's settings name a program wherever git knows one."""
    own = repository / ".git"
    script = own / "hooks" / "fsmonitor-watchman"
    (own / "hooks").mkdir(exist_ok=True)
    for name in ("post-checkout", "reference-transaction", "post-index-change", script.name):
        (own / "hooks" / name).write_text(f"#!/bin/sh\n{run}\n")
        (own / "hooks" / name).chmod(0o755)
    settings = {"core.fsmonitor": str(script), "core.hooksPath": str(own / "hooks")}
    names = ["core.pager", "core.sshCommand", "core.gitProxy", "core.alternateRefsCommand", "core.askPass",
             "core.editor", "diff.external", "gpg.program", "credential.helper", "uploadpack.packObjectsHook",
             "diff.evil.textconv", "diff.evil.command", "merge.evil.driver", "filter.evil.clean",
             "filter.evil.smudge", "filter.evil.process", "remote.evil.uploadpack"]  # fmt: skip
    settings |= dict.fromkeys(names, run)
    settings |= {
        "filter.evil.required": "true",
        "remote.evil.url": str(own),
    }
    settings |= {
        "remote.evil.promisor": "true",
        "core.repositoryFormatVersion": "1",
        "protocol.allow": "always",
    }
    settings |= {
        "extensions.partialClone": "evil",
        "protocol.file.allow": "always",
        "protocol.ext.allow": "always",
    }
    for key, value in settings.items():
        git(repository, "config", key, value)
    more = tmp_path / "more"
    more.write_text(f'[filter "more"]\n\tclean = {run}\n\trequired\n')
    git(repository, "config", "include.path", str(more))
    (repository / ".gitattributes").write_text(
        'cart.py filter=evil diff=evil\nmine filter=more\nnew filter=more\nother "filter=a.b =c"\n'
    )
    (repository / "new").write_text("new\n")
    (own / "info").mkdir(exist_ok=True)
    (own / "info" / "attributes").write_text("* filter=evil diff=evil merge=evil\nnew filter=more\n")


def test_what_a_job_does_to_its_own_repository_runs_nothing(
    bench: Bench, shop: RepoBuilder, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A bare worker promises nothing else; these settings are ours in each command, wherever it runs."""
    shop.pull(1, {"cart.py": "total = 2\n"})
    bench.prepare(shop)
    planted(bench.worktree(), f"touch {tmp_path}/PWNED", tmp_path)
    (bench.worktree() / "cart.py").write_text("total = 3\n")
    go_through(bench, shop, capfd)
    assert not (tmp_path / "PWNED").exists()


def test_settings_of_a_repository_in_the_worktree_run_nothing(
    bench: Bench, shop: RepoBuilder, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """git looks at each submodule as its settings say; the job says what is one."""
    shop.pull(1, {"cart.py": "total = 2\n"})
    bench.prepare(shop)
    for number, form in enumerate(("folder", "file")):
        inner = RepoBuilder(bench.worktree() / f"inner-{number}").commit({"cart.py": "1\n"})
        git(
            bench.worktree(),
            "update-index",
            "--add",
            "--cacheinfo",
            f"160000,{inner.sha()},{inner.path.name}",
        )
        planted(inner.path, f"touch {tmp_path}/PWNED", tmp_path)
        (inner.path / "cart.py").write_text("2\n")
        if form == "file":
            (inner.path / ".git").rename(tmp_path / "elsewhere")
            (inner.path / ".git").write_text(f"gitdir: {tmp_path}/elsewhere\n")
    go_through(bench, shop, capfd)
    assert not (tmp_path / "PWNED").exists()


def test_a_setting_that_no_option_can_name_is_an_error_and_runs_nothing(
    bench: Bench, shop: RepoBuilder, tmp_path: Path
) -> None:
    shop.pull(1, {"cart.py": "total = 2\n"})
    bench.prepare(shop)
    git(bench.worktree(), "config", "filter.a=b.clean", f"touch {tmp_path}/PWNED")
    (bench.worktree() / ".gitattributes").write_text("* filter=a=b\n")
    (bench.worktree() / "cart.py").write_text("total = 3\n")
    with pytest.raises(RunnerError, match="name the filter a=b"):
        unsaved.check_clean(bench.root, S)
    assert cli.main(["--root", str(bench.root), "clean", "--session", S, "--force"]) == 0
    assert not (tmp_path / "PWNED").exists()


def test_objects_that_a_job_took_away_are_fetched_from_nowhere(
    bench: Bench, shop: RepoBuilder, tmp_path: Path
) -> None:
    """git gets what is missing from the remote that a repository's settings promise it from, by their program."""
    shop.pull(1, {"cart.py": "total = 2\n"})
    bench.prepare(shop)
    tree = bench.worktree()
    (tree / "mine").write_text("work")
    git(tree, "add", "mine")
    git(tree, "commit", "--quiet", "--message", "x")
    gone = git(tree, "rev-parse", "HEAD^{tree}").strip()
    planted(tree, f"touch {tmp_path}/PWNED", tmp_path)
    (tree / ".git" / "objects" / gone[:2] / gone[2:]).unlink()
    words = ["--root", str(bench.root), "--tmux-socket", f"none-{os.getpid()}"]
    for more in (["status", "--session", S], ["commits", "--session", S], ["clean", "--session", S],
                 ["clean", "--session", S, "--force"]):  # fmt: skip
        cli.main([*words, *more])
    assert not (tmp_path / "PWNED").exists()
    assert not tree.exists()


@pytest.mark.parametrize("form", ["file", "link", "fifo", "folder"])
def test_a_worktree_whose_git_is_another_thing_is_removed_and_takes_nothing_along(
    form: str, bench: Bench, shop: RepoBuilder, private: RepoBuilder, tmp_path: Path
) -> None:
    shop.pull(1, {"cart.py": "total = 2\n"})
    bench.prepare(shop)
    own = bench.worktree() / ".git"
    own.rename(tmp_path / "away")
    if form == "file":
        own.write_text(f"gitdir: {private.path}/.git\n")
    elif form == "link":
        own.symlink_to(private.path / ".git")
    elif form == "fifo":
        os.mkfifo(own)
    else:
        own.mkdir()
    words = ["--root", str(bench.root), "--tmux-socket", f"none-{os.getpid()}"]
    cli.main([*words, "clean", "--session", S])
    cli.main([*words, "clean", "--session", S, "--force"])
    assert not bench.worktree().exists()
    assert git(private.path, "status", "--porcelain") == ""
    assert (private.path / "key").read_text() == SECRET
    assert holds(bench.root, SECRET) == []


# tmux


def test_formats_of_tmux_in_names_and_titles_run_nothing(root: RunnerRoot, tmp_path: Path) -> None:
    evil = f"#(touch {tmp_path}/PWNED)#{{pid}}"
    said = f"\x1b]2;{evil}\x07\x1b]0;{evil}\x07\x1bk{evil}\x1b\\shown"
    tasks = [{"id": "test", "name": evil, "argv": ["sleep", "60"]}]
    directory = root.path / "jobs" / SESSION
    directory.mkdir(parents=True)
    (root.path / "worktrees" / SESSION / evil.replace("/", "_")).mkdir(parents=True)
    job = {"target": evil, "action": "review", "title": evil, "repository": evil}
    plan = {"schema": "offload-plan/1", "job": job, "tasks": tasks}
    (directory / "plan.json").write_text(json.dumps(plan))
    root.start()
    argv = root.layout.tmux_argv("attach-session", "-t", f"={SESSION}")
    argv[0] = shutil.which(argv[0]) or argv[0]
    terminal = Terminal(list(argv), cwd=tmp_path, env={**os.environ, "TERM": "xterm"}, rows=30, columns=200)
    try:
        terminal.expect("of 1 done")
        # A side shell's program sets them by what it prints.
        (tmp_path / "said").write_text(said)
        root.tmux("new-window", "-t", f"={SESSION}:", f"cat {tmp_path}/said; exec sleep 60")
        terminal.expect("shown")
        assert wait_for(lambda: "#(" in root.tmux("list-panes", "-s", "-F", "#{pane_title}"))
        terminal.resize(20, 100)
        root.tmux("refresh-client", "-S")
        for _ in range(20):
            terminal.read(0.1)
    finally:
        terminal.close()
    assert not (tmp_path / "PWNED").exists()
