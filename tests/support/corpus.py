"""Small repositories of our own making, reviewed on a bare worker of this machine without a terminal."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from jobs.playbooks import registry
from jobs.playbooks.base import Context, RepositoryFacts
from jobs.remote.offload_runner.git import worktree
from tests.support.git_repos import Content, RepoBuilder
from tests.support.runner_root import RunnerRoot

# Every case runs in the environment of these tests; a repository installs nothing of its own.
NO_INSTALL = {".offload/config.toml": "hunks = false\n[commands]\ninstall = false\n"}
HUNKS = {".offload/config.toml": "[commands]\ninstall = false\n"}


@dataclass(frozen=True)
class Review:
    """What a review left behind."""

    assessment: dict[str, Any]
    text: str
    job_dir: Path

    @property
    def verdict(self) -> str:
        return str(self.assessment["verdict"])

    @property
    def messages(self) -> list[str]:
        return [f"{one['severity']}: {one['message']}" for one in self.assessment["findings"]]

    @property
    def told(self) -> str:
        """Everything that helps to understand a surprise."""
        logs = "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}"
            for path in sorted((self.job_dir / "tasks").glob("*.log"))
        )
        return f"{self.verdict}\n" + "\n".join(self.messages) + f"\n{self.text}\n{logs}"

    def tests(self, kind: str) -> set[str]:
        """Return the names of the tests of one kind: broken, fixed, flaky, ..."""
        return {case["name"] for task in self.assessment["tests"].values() for case in task[kind]}

    @property
    def proof(self) -> dict[str, str]:
        return {item["path"]: item["result"] for item in (self.assessment["proof"] or {}).get("files", [])}

    def state(self, task: str) -> str:
        return str(next(one["state"] for one in self.assessment["tasks"] if one["id"] == task))


class Corpus:
    """A worker's root, and programs that come first on PATH."""

    def __init__(self, path: Path) -> None:
        self.root = RunnerRoot()
        self.path = path
        self.programs = path / "programs"
        self.programs.mkdir(parents=True)
        # Plugins of the tests' own environment stay out of the reviewed projects; what is below src/ is found
        # without an installation.
        self.program(
            "python",
            'export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1; [ ! -d src ] || export PYTHONPATH="$PWD/src"; '
            f'exec {sys.executable} "$@"',
        )
        self.number = 0

    def close(self) -> None:
        self.root.close()

    def program(self, name: str, script: str) -> None:
        """Put a program on PATH."""
        file = self.programs / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def use_node_tools(self, modules: Path) -> None:
        """Run Node projects with the packages of `modules`; their linters check nothing."""
        # The environment of a task has no NODE_PATH of its own.
        self.program("node", f'export NODE_PATH={modules}; exec {shutil.which("node")} "$@"')
        for program in (modules / ".bin").iterdir():
            self.program(program.name, f'exec {program} "$@"')
        for linter in ("eslint", "standard"):
            self.program(linter, "exit 0")

    def review(
        self,
        base: Mapping[str, Content],
        head: Mapping[str, Content],
        *,
        action: str = "review",
        install: bool = False,
        between: Sequence[Mapping[str, Content]] = (),
    ) -> Review:
        """Review the change from `base`, with the commits `between` on top, to `head` (None removes a file).

        Only with `install` the repository's own installation runs.
        """
        self.number += 1
        settings = {".offload/config.toml": "hunks = false\n"} if install else NO_INSTALL
        repo = RepoBuilder(self.path / f"case-{self.number}").commit({**settings, **base}, "Begin")
        for index, files in enumerate(between):
            repo.commit(dict(files), f"Go on {index}")
        repo.pull(1, dict(head), message="Change")
        session = f"offload-case-{self.number}-{action}"
        env = {"PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}"}
        spec = {
            "session": session,
            "repository": {"slug": f"case-{self.number}", "url": repo.url},
            "head": {"ref": "refs/pull/1/head"},
            "base": {"ref": ""},
            "needs_base": True,
            "fresh": False,
        }
        with patch.dict(os.environ, env):  # what is on PATH is part of the answer
            prepared = worktree.prepare(self.root.path, spec, lambda line: None)
        plan = registry.get(action).plan(
            Context(
                session=session,
                repository=f"case-{self.number}",
                target="#1",
                number=1,
                sha=prepared["sha"],
                base_sha=prepared["base_sha"],
                base_ref=prepared["base_ref"],
                merge_base=prepared["merge_base"],
                facts=RepositoryFacts.from_json(json.loads(json.dumps(prepared["facts"]))),
            )
        )
        job_dir = self.root.path / "jobs" / session
        (job_dir / "plan.json").write_text(plan.dumps())
        done = self.root.call("run", "--session", session, env=env, timeout=240)
        assert (job_dir / "assessment.json").exists(), (done.stdout, done.stderr)
        return Review(
            json.loads((job_dir / "assessment.json").read_text()),
            (job_dir / "assessment.md").read_text(),
            job_dir,
        )
