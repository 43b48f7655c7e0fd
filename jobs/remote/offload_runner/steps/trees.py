"""The base's tree: made and installed once for all steps of a job, changed and brought back file by file."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from jobs.remote.offload_runner.engine.environment import placeholders
from jobs.remote.offload_runner.engine.task import EXIT_TIMEOUT
from jobs.remote.offload_runner.files.paths import BASE, JOB
from jobs.remote.offload_runner.git import environments, worktree
from jobs.remote.offload_runner.git.command import raw, shown, split, text
from jobs.remote.offload_runner.protocol import expand
from jobs.remote.offload_runner.steps import fingerprint, results
from jobs.remote.offload_runner.steps.commands import run_command
from jobs.remote.offload_runner.steps.problems import Problem, read_problems
from jobs.remote.offload_runner.steps.record import Job, say
from jobs.remote.offload_runner.steps.results import Results
from jobs.remote.offload_runner.steps.results.model import plain
from jobs.remote.offload_runner.wire import runner_path

TAIL_LINES = 30
_TAIL_BYTES = 16 * 1024
_LOG_BYTES = 16 * 1024 * 1024
SOURCE_LIMIT = 1024 * 1024  # bytes of a file of code that is read line by line
_SETUP_SECONDS = 1800.0
# uv leaves packages without bytecode, and runs in this tree write none: each would compile them again.
_COMPILE = (
    "[ ! -x .venv/bin/python ] || .venv/bin/python -m compileall -q -j 0 .venv/lib >/dev/null 2>&1 || true"
)
_COMPILE_SECONDS = 60.0
_SCHEMA = "offload-base/2"


@dataclass(frozen=True)
class Run:
    """How one command ended on one tree."""

    exit_code: int
    seconds: float
    timed_out: bool = False
    tail: Tuple[str, ...] = ()
    results: Results = field(default_factory=Results)
    problems: Tuple[Problem, ...] = ()

    @property
    def passed(self) -> bool:
        """Tell whether the command succeeded."""
        return self.exit_code == 0

    def to_json(self) -> Dict[str, Any]:
        """Return the run as plain data."""
        return {
            "exit_code": self.exit_code,
            "seconds": self.seconds,
            "timed_out": self.timed_out,
            "tail": list(self.tail),
            "results": self.results.to_json(),
            "problems": [problem.to_json() for problem in self.problems],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Run":
        """Read what `to_json` returned."""
        return cls(
            data["exit_code"],
            data["seconds"],
            data["timed_out"],
            tuple(data["tail"]),
            Results.from_json(data["results"]),
            tuple(Problem(**item) for item in data["problems"]),
        )


def execute(
    job: Job,
    tree: Path,
    shell: str,
    *,
    arguments: Sequence[str] = (),
    globs: Sequence[str] = (),
    timeout: float = _SETUP_SECONDS,
    env: Optional[Mapping[str, str]] = None,
    cwd: str = "",
    place: str = JOB,
) -> Run:
    """Run a shell line of the plan in a tree and read the results that it leaves.

    `arguments` are `$1`, `$2`, ...; `globs` name test reports below the tree; `place` says where: `BASE` for
    the base's own code, `PROOF` for code of the change in the base's tree. The results directory has a name
    that code which ran earlier cannot know.
    """
    tmp = job.paths.place(place).tmp
    line = expand(shell, {**placeholders(job.paths, runner_path(), sys.executable), "worktree": str(tree)})
    tmp.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="results-", dir=str(tmp)))
    _give(scratch, tmp)
    handle, name = tempfile.mkstemp(prefix=".command-", suffix=".log", dir=str(job.paths.job_dir))
    os.close(handle)
    log = Path(name)
    began = time.monotonic()
    started = time.time()
    try:
        argv = ["/bin/sh", "-c", line, "sh", *arguments]
        # Bytecode is found stale by whole seconds and sizes: too coarse for trees whose tests come and go.
        extra = {"PYTHONDONTWRITEBYTECODE": "1", "OFFLOAD_RESULTS": str(scratch), **(env or {})}
        code = run_command(job, argv, cwd=tree / cwd, env=extra, timeout=timeout, log=log, place=place)
        seconds = round(time.monotonic() - began, 3)
        found = results.collect(scratch, tree, globs, log, since=started)
        said = _log_text(log)
    finally:
        log.unlink()
    lines = [plain(one)[:400] for one in said[-_TAIL_BYTES:].splitlines()[-TAIL_LINES:]]
    return Run(
        code,
        seconds,
        code == EXIT_TIMEOUT and seconds >= timeout,
        tuple(line.replace("%s/" % tree, "") for line in lines),
        found,
        tuple(read_problems(said, str(tree))) if code else (),
    )


def _log_text(path: Path) -> str:
    with open(path, "rb") as file:
        return file.read(_LOG_BYTES).decode("utf-8", "replace")


@dataclass(frozen=True)
class Base:
    """The base's tree. Without `built` its commands prove nothing; `error` says what failed there."""

    path: Path
    built: bool
    error: str = ""
    tail: Tuple[str, ...] = ()


def ready_base(job: Job, setup: Sequence[str], *, pure: bool = False) -> Base:
    """Return the base's tree at the merge base. `setup` (shell lines) runs in it once in the job's life.

    `pure`: code of the change, which may have run there meanwhile, left nothing behind; what the setup had
    made is made again when that code changed it.
    """
    path = worktree.ensure_base(job.paths.root, job.paths.session, say)
    known = job.read("base.json")
    if isinstance(known, dict) and known.get("schema") == _SCHEMA and known.get("setup") == list(setup):
        if not pure or fingerprint.restore(job, known["made"]):
            worktree.reset_base(job.paths.root, job.paths.session)
            return Base(path, known["built"], known["error"], tuple(known["tail"]))
        say("Code of the change altered what the base's setup had made; the base is made again.")
        worktree.discard_base(job.paths.root, job.paths.session)
        worktree.ensure_base(job.paths.root, job.paths.session, say)
    worktree.reset_base(job.paths.root, job.paths.session)
    told: Dict[str, Any] = job.prepared.get("environment") or {}
    kept = _kept_environment(job, told) if setup else None
    base = _from_kept(job, path, setup, kept, told["key"]) if kept else None
    if base is None:
        kept = None
        base = _install(job, path, setup)
    job.write(
        "base.json",
        {
            "schema": _SCHEMA,
            "sha": job.sha,
            "merge_base": job.merge_base,
            "setup": list(setup),
            "made": fingerprint.take(job),
            "built": base.built,
            "error": base.error,
            "tail": list(base.tail),
        },
    )
    if told and setup and base.built and not isinstance(known, dict) and not _is_of(job, kept, setup):
        # No code of the change has run in this tree yet.
        made = list(fingerprint.entries(job))
        at = kept.at if kept else None
        why = environments.keep(job.paths, told["key"], job.merge_base, setup, made, at)
        if why:
            say("The environment is not kept for the next change: %s." % why)
    return base


def _kept_environment(job: Job, told: Mapping[str, Any]) -> Optional[environments.Kept]:
    """Return the kept environment that the head got a copy of; None when it got none."""
    kept = environments.find(job.paths.root, told["key"]) if told.get("used") else None
    return kept if kept is not None and kept.at == told["at"] else None


def _is_of(job: Job, kept: Optional[environments.Kept], setup: Sequence[str]) -> bool:
    return kept is not None and (kept.commit, kept.setup) == (job.merge_base, list(setup))


def _from_kept(
    job: Job, path: Path, setup: Sequence[str], kept: environments.Kept, key: str
) -> Optional[Base]:
    """Return the base's tree, made with a kept environment; None, and a fresh tree, when that failed."""
    since = time.strftime("%Y-%m-%d %H:%M", time.gmtime(kept.at))
    say("Taking what was installed for the base %s at %s UTC." % (kept.commit[:10], since))
    if _is_of(job, kept, setup):
        if environments.replicate(job.paths, key, kept):
            return Base(path, True)
    elif environments.lay(job.paths.root, key, kept, path):
        base = _install(job, path, setup)
        if base.built:
            return base
    say("That failed, so everything is installed again.")
    worktree.discard_base(job.paths.root, job.paths.session)
    worktree.ensure_base(job.paths.root, job.paths.session, say)
    worktree.reset_base(job.paths.root, job.paths.session)
    return None


def _install(job: Job, path: Path, setup: Sequence[str]) -> Base:
    for line in setup:
        say("$ %s" % line)
        done = execute(job, path, line, place=BASE)
        if not done.passed:
            error = "`%s` %s" % (shown(line), ended(done))
            say("The base could not be built: %s." % error)
            return Base(path, False, error, done.tail)
    if setup:
        execute(job, path, _COMPILE, timeout=_COMPILE_SECONDS, place=BASE)
    return Base(path, True)


def ended(run: Run) -> str:
    """Return how a command ended, in words."""
    if run.timed_out:
        return "did not end in time"
    if run.exit_code > 128:
        return "was ended by signal %d" % (run.exit_code - 128)
    return "ends with exit code %d" % run.exit_code


def present(job: Job, sha: str, names: Sequence[str]) -> List[str]:
    """Return those of the paths that a commit has."""
    if not names:
        return []
    listed = job.git.out("ls-tree", "-r", "-z", "--name-only", sha, "--", *sorted(set(names)))
    return [text(name) for name in split(listed)]


def content(job: Job, sha: str, path: str) -> Optional[bytes]:
    """Return a file of a commit, from the mirror; None when the commit has no such file."""
    done = job.git.run("cat-file", "blob", "%s:%s" % (sha, path), check=False)
    return done.stdout if done.exit_code == 0 else None


def source(job: Job, sha: str, path: str) -> Optional[bytes]:
    """Return a file of a commit to be read line by line; None when there is none or it is too large."""
    git = job.git
    done = git.run("cat-file", "blob", "%s:%s" % (sha, path), check=False, limit=SOURCE_LIMIT, cut=True)
    return done.stdout if done.exit_code == 0 and not done.is_cut else None


def lay(job: Job, tree: Path, sha: str, names: Sequence[str]) -> None:
    """Make files of a tree as a commit has them; a file that the commit does not have is removed."""
    modes = {}
    wanted = sorted(set(names))
    if wanted:
        for line in split(job.git.out("ls-tree", "-r", "-z", sha, "--", *wanted)):
            about, _, name = line.partition(b"\t")
            modes[text(name)] = about.split()[0]
    for path in wanted:
        data = content(job, sha, path) if path in modes else None
        mode = modes.get(path, b"")
        if data is None:
            put(tree, path, None)
        elif mode != b"160000":
            put(tree, path, data, executable=mode == b"100755", link=mode == b"120000")


def put(
    tree: Path, name: str, data: Optional[bytes], *, executable: bool = False, link: bool = False
) -> None:
    """Write a file below a tree that a job's code can change: no link on the way is followed.

    `data` None removes the file. A link's data is its target.
    """
    parts = [raw(part) for part in name.split("/")]
    folder = os.open(str(tree), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    owner = os.fstat(folder)
    try:
        for part in parts[:-1]:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                inner = os.open(part, flags, dir_fd=folder)
            except FileNotFoundError:
                if data is None:
                    return
                os.mkdir(part, 0o755, dir_fd=folder)
                inner = os.open(part, flags, dir_fd=folder)
                _own(inner, owner)
            os.close(folder)
            folder = inner
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(os.lstat(parts[-1], dir_fd=folder).st_mode):
                raise IsADirectoryError("%s is a directory" % shown(name))
            os.unlink(parts[-1], dir_fd=folder)
        if data is None:
            return
        if link:
            os.symlink(data, parts[-1], dir_fd=folder)
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(parts[-1], flags, 0o755 if executable else 0o644, dir_fd=folder), "wb") as file:
            file.write(data)
            _own(file.fileno(), owner)
    finally:
        os.close(folder)


def _own(descriptor: int, owner: os.stat_result) -> None:
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _give(path: Path, parent: Path) -> None:
    owner = os.stat(str(parent))
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.chown(str(path), owner.st_uid, owner.st_gid, follow_symlinks=False)
