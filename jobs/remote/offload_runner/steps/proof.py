"""Behavioural proof: the changed tests, file by file, on the base and on the head.

A test that fails on the base and passes on the head is proof that the change does what its tests say.

What to run is data in the plan, in the `outputs` of the task whose role is `proof`:

    "outputs": {"proof": GROUP or [GROUP, ...]}

    GROUP = {
        "test_files": ["tests/test_tax.py", ...],   changed tests: paths at the head, from the top
        "command":    ["{worktree}/.venv/bin/python", "-m", "pytest", "-q", "{tests}"],
        "setup":      [["npm", "ci"], ...],         optional: run in the base's tree first; each must exit 0
        "overlay":    ["tests/conftest.py", ...],   optional: further files of the head that the tests need
        "cwd":        "packages/web",               optional: below the tree's root, default the root
        "timeout":    600,                          optional: seconds for one file, and for one setup command
        "env":        {"NODE_ENV": "test"}          optional
    }

`command` runs once per file and tree; exit code 0 means that the file's tests pass. In `command`, `setup`
and the values of `env`, `{worktree}` is the tree under test (the base's or the head's; write it, not
`{base_worktree}`), and the plan's other placeholders keep their meaning. In `command` also:

    {tests}  the test file, relative to `cwd`        {dir}  its directory, relative to `cwd` ("." at the top)
    {stem}   its name without the last extension     {name} its name

The base's tree is `{base_worktree}`: the merge base with `test_files` and `overlay` of the head laid over
it; the step makes the tree if need be and takes the overlay off again at the end. No other task may work in
`{base_worktree}` at the same time: let such tasks come before this one in `needs`. The head's tree is
`{worktree}`, so the task needs whatever installs and builds there. A file that the head deleted is ignored.

The answer is `proof.json` in the job's directory:

    {"schema": "offload-proof/1", "sha", "merge_base", "base_built": true, "base_error": "",
     "files": [{"path", "result": "proof|proves_nothing|still_fails|regression|passes|fails",
                "base": RUN or null, "head": RUN}]}
    RUN = {"outcome": "pass|fail|timeout|error", "exit_code", "seconds", "loaded": bool, "tail": [last lines]}

`proof` fail-pass, `proves_nothing` pass-pass, `still_fails` fail-fail, `regression` pass-fail; `passes` and
`fails` are what is left to say when the base could not be built. `loaded` is false when the tests could not
even be imported or collected, which counts as a failure.

Exit code 0: every changed test passes on the head. 1: one does not. 70: the step itself could not work.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from jobs.remote.offload_runner.engine.environment import placeholders
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.git import worktree
from jobs.remote.offload_runner.git.command import Git, raw, shown, split, text
from jobs.remote.offload_runner.protocol import EXIT_DATA, EXIT_NOT_FOUND, PlanError, expand
from jobs.remote.offload_runner.steps.record import Job, counted, say
from jobs.remote.offload_runner.wire import runner_path

_TIMEOUT = 600.0
_TAIL_LINES = 30
_TAIL_BYTES = 16 * 1024
_NO_PROGRAM = (126, 127)
_RESULTS = {
    (False, True): "proof",
    (True, True): "proves_nothing",
    (False, False): "still_fails",
    (True, False): "regression",
}
_SENTENCE = {
    "proof": "fails on the base and passes on the head: proof",
    "proves_nothing": "passes on both: proves nothing",
    "still_fails": "fails on both",
    "regression": "passes on the base and fails on the head",
    "passes": "passes on the head",
    "fails": "fails on the head",
}
# How runners say that the tests were never run: pytest, unittest, node, jest, go, cargo, TypeScript, Maven.
_NOT_LOADED = re.compile(
    r"ImportError|ModuleNotFoundError|SyntaxError|errors? during collection|ERROR collecting"
    r"|Cannot find module|ERR_MODULE_NOT_FOUND|Test suite failed to run|\[(build|setup) failed\]"
    r"|could not compile"
    r"|error TS\d+|COMPILATION ERROR|Compilation failed|cannot load such file",
)


@dataclass(frozen=True)
class Group:
    """Test files that are run in the same way."""

    test_files: List[str]
    command: List[str]
    setup: List[List[str]] = field(default_factory=list)
    overlay: List[str] = field(default_factory=list)
    cwd: str = ""
    timeout: float = _TIMEOUT
    env: Dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """How one command ended."""

    outcome: str
    exit_code: Optional[int]
    seconds: float
    tail: List[str]
    loaded: bool = True

    def to_json(self) -> Dict[str, Any]:
        """Return the run as plain data."""
        return dict(self.__dict__)


def run(job: Job) -> int:
    """Run the changed tests on both trees and write `proof.json`. Exit codes: see the module."""
    groups = read_groups(job.plan)
    answer: Dict[str, Any] = {
        "schema": "offload-proof/1",
        "sha": job.sha,
        "merge_base": job.merge_base,
        "base_built": True,
        "base_error": "",
        "files": [],
    }
    base = worktree.ensure_base(job.paths.root, job.paths.session, say)
    there = set(_present(job, [name for group in groups for name in [*group.test_files, *group.overlay]]))
    with contextlib.suppress(ValueError):  # signals belong to the main thread
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        worktree.reset_base(job.paths.root, job.paths.session)
        overlay = sorted(there)
        for group in groups:
            _prove(job, group, base, overlay, there, answer)
            job.write("proof.json", answer)
    finally:
        worktree.reset_base(job.paths.root, job.paths.session)
    job.write("proof.json", answer)
    _conclude(answer)
    bad = ("still_fails", "regression", "fails")
    return 1 if any(item["result"] in bad for item in answer["files"]) else 0


def read_groups(plan: Mapping[str, Any]) -> List[Group]:
    """Return what the plan's `proof` task says is to be run. Raises `RunnerError` (`bad_plan`)."""
    found = next((task for task in plan.get("tasks") or [] if task.get("role") == "proof"), None)
    told = ((found or {}).get("outputs") or {}).get("proof")
    if not told:
        raise RunnerError("bad_plan", "The plan does not say which tests to run.", exit_code=EXIT_NOT_FOUND)
    try:
        groups = [Group(**group) for group in (told if isinstance(told, list) else [told])]
        for group in groups:
            if not group.command or not all(isinstance(word, str) for word in group.command):
                raise PlanError("command is not a list of words")
            for name in [*group.test_files, *group.overlay, group.cwd]:
                if posixpath.isabs(name) or ".." in name.split("/"):
                    raise PlanError("%r leads out of the tree" % name)
    except (TypeError, PlanError) as exc:
        raise RunnerError(
            "bad_plan", "The plan's proof makes no sense: %s." % exc, exit_code=EXIT_DATA
        ) from exc
    return groups


def classify(base: Optional[Run], head: Run) -> str:
    """Return the word for what a test did on both trees."""
    passes = head.outcome == "pass"
    if base is None:
        return "passes" if passes else "fails"
    return _RESULTS[base.outcome == "pass", passes]


def _prove(
    job: Job, group: Group, base: Path, overlay: List[str], there: "set[str]", answer: Dict[str, Any]
) -> None:
    files = [name for name in group.test_files if name in there]
    # The setup sees the base as it was; the tests, the base with the head's tests.
    built = _set_up(job, group, base, answer) if files else True
    _overlay(base, job.sha, overlay)
    for name in files:
        say()
        say("%s on the base" % shown(name))
        before = _test(job, group, base, name) if built else None
        say("%s on the head" % shown(name))
        after = _test(job, group, job.paths.worktree, name)
        if before is not None and before.outcome == "error":
            before = None  # the command itself cannot be started there: that says nothing of the change
        result = classify(before, after)
        say("%s %s" % (shown(name), _SENTENCE[result]))
        answer["files"].append(
            {
                "path": name if shown(name) == name else shown(name),
                "result": result,
                "base": before.to_json() if before else None,
                "head": after.to_json(),
            }
        )


def _set_up(job: Job, group: Group, base: Path, answer: Dict[str, Any]) -> bool:
    for argv in group.setup:
        done = _command(job, group, base, argv, {})
        if done.outcome != "pass":
            why = "`%s` %s" % (" ".join(argv[-1:] if argv[:2] == ["sh", "-c"] else argv), _ended(done))
            answer.update(base_built=False, base_error=shown(why), base_tail=done.tail)
            say("The base could not be built: %s." % why)
            return False
    return True


def _test(job: Job, group: Group, tree: Path, name: str) -> Run:
    inside = posixpath.relpath(name, group.cwd) if group.cwd else name
    values = {
        "{tests}": inside,
        "{dir}": posixpath.dirname(inside) or ".",
        "{name}": posixpath.basename(inside),
        "{stem}": posixpath.splitext(posixpath.basename(inside))[0],
    }
    done = _command(job, group, tree, group.command, values)
    say("  %s after %.1f s" % (_ended(done), done.seconds))
    return done


def _command(job: Job, group: Group, tree: Path, argv: List[str], names: Mapping[str, str]) -> Run:
    known = {**placeholders(job.paths, runner_path(), sys.executable), "worktree": str(tree)}
    pattern = re.compile("|".join(re.escape(name) for name in names)) if names else None

    def filled(word: str) -> str:
        # The plan's placeholders first: what a file is called must not be taken for one.
        word = expand(word, known)
        return pattern.sub(lambda match: names[match.group(0)], word) if pattern else word

    words = [filled(word) for word in argv]
    # Bytecode is found stale by whole seconds and sizes: too coarse for trees whose tests come and go.
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    env.update({name: expand(value, known) for name, value in group.env.items()})
    say("$ %s" % " ".join(words))
    began = time.monotonic()
    log = job.paths.job_dir / "proof.out"
    timed_out = False
    with open(log, "w+b") as output:
        try:
            process = subprocess.Popen(
                [raw(word) for word in words],
                cwd=str(tree / group.cwd),
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as exc:
            return Run(
                "error", None, 0.0, ["Starting %s failed: %s." % (shown(words[0]), exc.strerror)], False
            )
        try:
            code = process.wait(timeout=group.timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
            code = -signal.SIGKILL
        finally:
            # What a test left running goes with it, and so does everything when this step is ended.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        seconds = round(time.monotonic() - began, 3)
        tail = _show(output)
    log.unlink()
    if timed_out:
        return Run("timeout", None, seconds, tail)
    if code in _NO_PROGRAM:
        return Run("error", code, seconds, tail, False)
    loaded = code == 0 or not _NOT_LOADED.search("\n".join(tail))
    return Run("pass" if code == 0 else "fail", code, seconds, tail, loaded)


def _show(output: Any) -> List[str]:
    # The whole output goes to the task's log, whose size the engine bounds; the last lines to the answer.
    output.seek(0)
    sys.stdout.flush()
    last = b""
    while True:
        block = output.read(65536)
        if not block:
            break
        sys.stdout.buffer.write(block)
        last = (last + block)[-_TAIL_BYTES:]
    if last and not last.endswith(b"\n"):
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()
    lines = last.decode("utf-8", "replace").splitlines()
    return [shown(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line)) for line in lines[-_TAIL_LINES:]]


def _present(job: Job, names: List[str]) -> List[str]:
    if not names:
        return []
    listed = job.git.out("ls-tree", "-r", "-z", "--name-only", job.sha, "--", *sorted(set(names)))
    return [text(name) for name in split(listed)]


def _overlay(base: Path, sha: str, names: List[str]) -> None:
    if names:
        Git(str(base)).run(
            "restore", "--worktree", "--source=" + sha, "--pathspec-from-file=-", "--pathspec-file-nul",
            input=b"\0".join(raw(name) for name in names),
            doing="Laying the head's tests over the base",
        )  # fmt: skip


def _ended(done: Run) -> str:
    if done.outcome == "timeout":
        return "did not end in time"
    if done.exit_code is None:
        return "cannot be started"
    told = "exit code %d" % done.exit_code if done.exit_code >= 0 else "signal %d" % -done.exit_code
    return told if done.loaded or done.outcome != "fail" else "%s: the tests could not be loaded" % told


def _conclude(answer: Mapping[str, Any]) -> None:
    results: List[Tuple[str, str]] = [(item["result"], item["path"]) for item in answer["files"]]
    say()
    say("%s:" % counted(len(results), "changed test file"))
    for result, path in results:
        say("  %s %s" % (path, _SENTENCE[result]))
