"""Where things are under the root, on the machine that the runner runs on (`layout` is its twin at home)."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import untrusted
from jobs.remote.offload_runner.protocol import EXIT_NOT_FOUND, EXIT_USAGE

_JSON_LIMIT = 64 * 1024 * 1024
_SESSION = re.compile(r"offload-[A-Za-z0-9_-]{1,199}")
# Places of code: the head's tasks, the base's own commands, tests of the head on the base, the agent, and
# tasks of the head that are given a secret: those that only read the worktree, and those that write to it.
JOB = "job"
BASE = "base"
PROOF = "proof"
AGENT = "agent"
SECRET = "secret"
SECRET_WRITES = "secret-writes"


@dataclass(frozen=True)
class Place:
    """What the code of one place writes: no place of a container trusts what another one can write.

    `home` is its HOME, `cache` has the package caches, `tree` is the worktree that it works on.
    """

    name: str
    home: Path
    cache: Path
    tree: Path

    @property
    def tmp(self) -> Path:
        """Return its TMPDIR."""
        return self.home / ".tmp"


@dataclass(frozen=True)
class JobPaths:
    """The files of one job."""

    root: Path
    session: str

    @property
    def job_dir(self) -> Path:
        """Return the job's directory."""
        return self.root / "jobs" / self.session

    @property
    def plan(self) -> Path:
        """Return the plan (JSON)."""
        return self.job_dir / "plan.json"

    @property
    def prepared(self) -> Path:
        """Return the answer of `prepare` (JSON): commits, worktree, facts."""
        return self.job_dir / "prepared.json"

    @property
    def journal(self) -> Path:
        """Return the journal, one event a line."""
        return self.job_dir / "events.jsonl"

    @property
    def status(self) -> Path:
        """Return the heartbeat: what the runner is doing now (JSON)."""
        return self.job_dir / "status.json"

    @property
    def lock(self) -> Path:
        """Return the file whose lock means: a runner is at work."""
        return self.job_dir / "run.lock"

    @property
    def stop_request(self) -> Path:
        """Return the file that tells a dying runner that it was cancelled, not interrupted."""
        return self.job_dir / "stop.json"

    @property
    def supervisor_lock(self) -> Path:
        """Return the file that is locked while a supervisor of the job lives."""
        return self.job_dir / "supervisor.lock"

    @property
    def step_socket(self) -> Path:
        """Return the socket over which a step in the control container has commands run."""
        return self.job_dir / "steps.sock"

    @property
    def agent_state(self) -> Path:
        """What its agent does: written by the step that runs it, read by the runner."""
        return self.job_dir / "agent-state.json"

    @property
    def answers(self) -> Path:
        """Return where what is to be typed to the job's agent waits for its runner."""
        return self.job_dir / "answers"

    @property
    def agent_reports(self) -> Path:
        """Return where an agent with a terminal reports what it does. It can write anything there."""
        return self.place(AGENT).home / "reports"

    @property
    def ports(self) -> Path:
        """Return the ports that the job was given (JSON)."""
        return self.job_dir / "ports.json"

    @property
    def reserve(self) -> Path:
        """Return the file given up when the disk is full, so that the journal can say so."""
        return self.job_dir / "reserve"

    @property
    def tasks(self) -> Path:
        """Return the directory of logs and exit codes."""
        return self.job_dir / "tasks"

    def log(self, task: str) -> Path:
        """Return the log of a task."""
        return self.tasks / (task + ".log")

    def exit(self, task: str) -> Path:
        """Return the file with a task's exit code."""
        return self.tasks / (task + ".exit")

    @property
    def recording(self) -> Path:
        """Return the recording of the session (asciicast)."""
        return self.job_dir / "recording.cast"

    @property
    def verdict(self) -> Path:
        """Return what `step synthesis` concluded (JSON)."""
        return self.job_dir / "verdict.json"

    @property
    def assessment(self) -> Path:
        """Return what `step synthesis` concluded, for people (Markdown)."""
        return self.job_dir / "assessment.md"

    @property
    def home(self) -> Path:
        """Return the HOME of the job's tasks, outside the job's directory: the job writes it."""
        return self.root / "home" / self.session

    @property
    def tmp(self) -> Path:
        """Return the TMPDIR of the job's tasks."""
        return self.home / ".tmp"

    def results(self, task: str) -> Path:
        """Return where a task's commands may leave test reports."""
        return self.tmp / "results" / task

    @property
    def worktree(self) -> Path:
        """Return the worktree of the head."""
        return self.root / "worktrees" / self.session

    @property
    def base_worktree(self) -> Path:
        """Return the worktree of the base commit."""
        return self.root / "base" / "worktrees" / self.session

    @property
    def own_cache(self) -> Path:
        """Return the package caches of this job alone, which every job in a container has."""
        return self.root / "caches" / self.session

    @property
    def caches(self) -> Path:
        """Return the package caches of the head's tasks: its own, or what a bare worker has for all."""
        return self.own_cache if is_folder(self.own_cache) else cache(self.root)

    @property
    def agent_tree(self) -> Path:
        """Return the tree that an agent edits: of the agent's place, apart from the worktree."""
        return self.root / "agents" / self.session / "tree"

    def place(self, name: str) -> Place:
        """Return what the code of a place may write."""
        if name == AGENT:
            home = self.root / "agents" / self.session
            return Place(AGENT, home, home / ".cache", self.worktree)
        if name == SECRET:
            home = self.root / "secret" / self.session
            return Place(SECRET, home, home / ".cache", self.worktree)
        if name in (JOB, SECRET_WRITES):
            return Place(name, self.home, self.caches, self.worktree)
        # The base's caches have never met code of a change.
        caches = self.root / "base" / "cache" if name == BASE else self.caches
        return Place(name, self.root / "base" / "home" / self.session, caches, self.base_worktree)

    @property
    def homes(self) -> List[Path]:
        """Return the HOMEs of all places."""
        return [self.place(name).home for name in (JOB, BASE, AGENT, SECRET)]


def is_folder(path: Path) -> bool:
    """Tell whether a path is a directory; a link to one is none."""
    try:
        return stat.S_ISDIR(os.lstat(str(path)).st_mode)
    except OSError:
        return False


def job_paths(root: Path, session: str) -> JobPaths:
    """Return the paths of a job. Raises `RunnerError` for a name that could lead elsewhere."""
    if not _SESSION.fullmatch(session):
        raise RunnerError("usage", "%r is not the name of a session." % session, exit_code=EXIT_USAGE)
    return JobPaths(root, session)


def existing_job(root: Path, session: str) -> JobPaths:
    """Return the paths of a job that is there. Raises `RunnerError` (`not_found`)."""
    paths = job_paths(root, session)
    if not paths.job_dir.is_dir():
        raise RunnerError(
            "not_found",
            "There is no job %s under %s." % (session, root),
            "It was removed, or never prepared on this worker.",
            EXIT_NOT_FOUND,
        )
    return paths


def all_jobs(root: Path) -> List[JobPaths]:
    """Return every job under the root, by name."""
    try:
        names = sorted(entry.name for entry in os.scandir(root / "jobs") if entry.is_dir())
    except FileNotFoundError:
        return []
    return [JobPaths(root, name) for name in names if _SESSION.fullmatch(name)]


def mirror(root: Path, slug: str) -> Path:
    """Return the bare mirror of a repository."""
    return root / "repos" / (slug + ".git")


def carried(root: Path, session: str) -> Path:
    """Return the bundle that was sent for a job, until it is taken."""
    return root / "repos" / (".%s.bundle" % session)


def making(root: Path, name: str) -> Path:
    """Return where a worktree is laid out before it is moved into place: no job's code reaches it."""
    return root / "making" / name


def cache(root: Path) -> Path:
    """Return the directory of the package caches that the jobs of a bare worker share."""
    return root / "cache"


def state_dir(root: Path) -> Path:
    """Return the directory of what belongs to no job."""
    return root / "state"


def rescue_dir(root: Path) -> Path:
    """Return where work is bundled before its worktree is removed by force."""
    return state_dir(root) / "rescue"


def tmux_config(root: Path) -> Path:
    """Return Offload's own tmux configuration."""
    return state_dir(root) / "tmux.conf"


def write_atomically(path: Path, text: str, mode: int = 0o600, *, durable: bool = True) -> None:
    """Write a whole file so that a reader sees the old text or the new, never a part.

    Nor does a machine that lost its power, if `durable`.
    """
    handle, name = tempfile.mkstemp(prefix=".", suffix=".new", dir=str(path.parent))
    try:
        # Half of a character, which no file can hold, is no reason to lose the rest.
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(name, mode)
        give_away(Path(name))
        os.replace(name, path)
    except BaseException:
        try:
            os.unlink(name)
        except FileNotFoundError:
            pass
        raise


def give_away(path: Path) -> None:
    """Let a file that root made belong to the owner of its directory: a container's user must read it."""
    if os.geteuid() != 0:
        return
    owner = os.stat(str(path.parent))
    if owner.st_uid != 0:
        os.chown(str(path), owner.st_uid, owner.st_gid, follow_symlinks=False)


def write_json(path: Path, data: Any, *, durable: bool = True) -> None:
    """Write plain data as JSON: see `write_atomically`."""
    write_atomically(path, json.dumps(data, sort_keys=True) + "\n", durable=durable)


def read_json(path: Path) -> Any:
    """Return the data of a JSON file; None when it is missing, a link, too large or not JSON."""
    try:
        return json.loads(untrusted.read(path.parent, path.name, limit=_JSON_LIMIT))
    except untrusted.UntrustedFile as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise cause from None
        return None
    except (ValueError, RecursionError):
        return None
