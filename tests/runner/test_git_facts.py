"""What a playbook gets to know: manifests of head and base, changed files of every kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.playbooks.base import RepositoryFacts
from jobs.remote.offload_runner.git import facts
from jobs.remote.offload_runner.git.command import Completed, raw, shown, split, text
from tests.support.bench import Bench
from tests.support.git_repos import RepoBuilder


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "root")


@pytest.fixture
def shop(tmp_path: Path) -> RepoBuilder:
    return RepoBuilder(tmp_path / "shop")


def changed(answer: dict[str, Any]) -> dict[str, tuple[str, str, bool, int, int]]:
    return {
        item["path"]: (item["status"], item["old_path"], item["binary"], item["added"], item["deleted"])
        for item in answer["facts"]["changed"]
    }


def test_changed_files_of_every_kind(bench: Bench, shop: RepoBuilder) -> None:
    body = "".join(f"line {n}\n" for n in range(20))
    shop.commit({"kept.py": body, "moved.py": body, "gone.py": "a\nb\n", "art.png": b"\0\1", "link": "x"})
    shop.branch("work").move("moved.py", "pkg/moved.py")
    (shop.path / "link").unlink()
    (shop.path / "link").symlink_to("kept.py")
    shop.commit(
        {
            "kept.py": body + "more\n",
            "gone.py": None,
            "art.png": b"\0\2\3",
            b"b\xff\n\t.txt": "odd\n",
            "ünïcode.txt": "u\n",
            ":(glob)*": "magic\n",
            "empty.txt": "",
        }
    )
    answer = bench.prepare(shop, head={"ref": "work"})
    assert changed(answer) == {
        "kept.py": ("M", "", False, 1, 0),
        "pkg/moved.py": ("R", "moved.py", False, 0, 0),
        "gone.py": ("D", "", False, 0, 2),
        "art.png": ("M", "", True, 0, 0),
        "link": ("T", "", False, 1, 1),
        "b\udcff\n\t.txt": ("A", "", False, 1, 0),
        "ünïcode.txt": ("A", "", False, 1, 0),
        ":(glob)*": ("A", "", False, 1, 0),
        "empty.txt": ("A", "", False, 0, 0),
    }
    assert RepositoryFacts.from_json(json.loads(json.dumps(answer["facts"]))).changed


def test_an_empty_change_is_said_to_be_empty(bench: Bench, shop: RepoBuilder) -> None:
    shop.commit({"a.py": ""}).pull(1)
    answer = bench.prepare(shop)
    assert (answer["empty"], answer["facts"]["changed"]) == (True, [])
    assert answer["sha"] != answer["base_sha"]


def test_manifests_come_from_the_commits_and_not_from_disk(bench: Bench, shop: RepoBuilder) -> None:
    shop.commit(
        {
            "package.json": '{"base": 1}',
            ".offload/config.toml": "[tasks]\n",
            "src/package.json": "{}",
            "node_modules/x/package.json": "{}",
        }
    )
    shop.pull(
        1,
        {
            "package.json": '{"head": 1}',
            ".offload/config.toml": "evil\n",
            "requirements-dev.txt": "pytest\n",
            "eslint.config.mjs": "x",
            "package-lock.json": "{}",
        },
    )
    found = bench.prepare(shop)["facts"]
    assert found["files"]["package.json"] == '{"head": 1}'
    assert found["base_files"] == {
        "package.json": '{"base": 1}',
        ".offload/config.toml": "[tasks]\n",
        "src/package.json": "{}",
    }
    assert set(found["files"]) == {
        "package.json",
        ".offload/config.toml",
        "requirements-dev.txt",
        "eslint.config.mjs",
        "src/package.json",
    }
    assert {"package-lock.json", "src", ".offload"} <= set(found["root_entries"])


def test_configuration_is_read_from_the_base_as_it_is_now(bench: Bench, shop: RepoBuilder) -> None:
    shop.commit({"pyproject.toml": "old"}).pull(1, {"a.py": ""}).commit({"pyproject.toml": "new"})
    found = bench.prepare(shop)["facts"]
    assert (found["files"]["pyproject.toml"], found["base_files"]["pyproject.toml"]) == ("old", "new")


def test_large_manifests_and_links_are_left_out(bench: Bench, shop: RepoBuilder) -> None:
    shop.commit({"package.json": "x" * (facts.FILE_LIMIT + 1), "go.mod": b"module \xff\n"})
    (shop.path / "Makefile").symlink_to("/etc/passwd")
    shop.commit().pull(1)
    found = bench.prepare(shop)["facts"]
    assert found["files"] == {"go.mod": "module \ufffd\n"}
    assert "Makefile" in found["root_entries"]


def test_tools_and_cores_are_this_machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cargo").write_text("#!/bin/sh\n")
    (tmp_path / "cargo").chmod(0o755)
    (tmp_path / "go").write_text("not executable")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert facts.tools() == {"cargo": str(tmp_path / "cargo")}
    assert facts.cores() >= 1


@pytest.mark.parametrize("path", [b"plain", b"b\xff", "ü".encode(), b"new\nline"])
def test_paths_survive_as_text(path: bytes) -> None:
    assert raw(json.loads(json.dumps(text(path)))) == path
    shown(text(path)).encode("utf-8")
    assert "\n" not in shown(text(path))


def test_output_with_nul_is_split() -> None:
    assert split(b"") == []
    assert split(b"a\0b\0") == [b"a", b"b"]


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        (b"warning: x\nfatal: bad object\nhint: y\n", "bad object"),
        (b"ssh: Connection refused\nfatal: Could not read from remote repository.\n\nPlease make sure you "
         b"have the correct access rights\nand the repository exists.\n", "ssh: Connection refused"),
        (b"fatal: unable to connect to h:\nh[0: ::1]: errno=Connection refused\n",
         "unable to connect to h: h[0: ::1]: errno=Connection refused"),
        (b"remote: Repository not found.\nfatal: repository 'x' not found\n", "Repository not found"),
        (b"fatal: unable to access 'https://a:b@h/'\n", "unable to access 'https://h/'"),
        (b"", "exit code 128"),
    ],
)  # fmt: skip
def test_the_line_that_says_most_is_chosen(stderr: bytes, reason: str) -> None:
    assert Completed(128, b"", stderr).reason == reason
