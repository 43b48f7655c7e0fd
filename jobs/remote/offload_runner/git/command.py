"""git as a child process: found on PATH, never asking, never running hooks, and always with a deadline.

The user's and the system's configuration are left out: a setting there must not change what a diff says or
what a checkout writes. Only commands that talk to another repository follow them, with our overrides
(credential helpers, `insteadOf`, ssh commands, `safe.directory`). Nothing is ever written to them.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import selectors
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, NoReturn, Optional, Sequence, Tuple

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.protocol import EXIT_REFUSED, EXIT_SOFTWARE, EXIT_UNAVAILABLE

LOCAL_SECONDS = 600.0  # a command on this machine's disk, a large checkout included
TALK_SECONDS = 60.0  # one question to a remote
FETCH_SECONDS = 3600.0  # a first fetch of a large repository; a stalled one ends far sooner

# What a commit holds decides how much git prints: no more than this is kept in memory.
OUTPUT_LIMIT = 128 * 1024 * 1024
_STDERR_TAIL = 64 * 1024

# Overrides of the user's and the repository's configuration, for every command.
OVERRIDES: Tuple[str, ...] = (
    "safe.bareRepository=all",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.autocrlf=false",
    "core.eol=lf",
    "core.symlinks=true",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.quotePath=false",
    # Larger files are binary to a diff, which would hold them in memory.
    "core.bigFileThreshold=64m",
    "gc.auto=0",
    "maintenance.auto=false",
    "fetch.prune=false",
    "fetch.recurseSubmodules=false",
    "submodule.recurse=false",
    "protocol.version=2",
    "protocol.ext.allow=never",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
    "advice.detachedHead=false",
    "commit.gpgSign=false",
    "log.showSignature=false",
    "color.ui=false",
    # Pointers of git-lfs stay pointers, whether or not git-lfs is there: a checkout never fails for it.
    "filter.lfs.smudge=",
    "filter.lfs.clean=",
    "filter.lfs.process=",
    "filter.lfs.required=false",
)
# Mirrors and worktrees are Offload's own, and in a container they belong to another number.
_OURS = "safe.directory=*"
# What git says of a repository of another user, since 2.36 and before.
_FOREIGN = re.compile(
    rb"detected dubious ownership in repository at '(.*)'|unsafe repository \('(.*)' is owned"
)
# No configuration of the user and of the system. Where HOME is no directory, git finds none, nor attributes
# and ignored names; git before 2.32 has no variable for that.
_NO_SETTINGS = {
    "HOME": "/dev/null",
    "XDG_CONFIG_HOME": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}
# Of the caller's GIT_* variables only those that say how to reach and to trace; none that says where.
_KEPT = re.compile(
    r"^GIT_(SSH|SSH_COMMAND|SSH_VARIANT|SSL_\w+|HTTP_\w+|PROXY_\w+|CONFIG_(GLOBAL|SYSTEM|NOSYSTEM)|EXEC_PATH|TRACE\w*)$"
)
# For a repository of others: missing objects are fetched from nowhere, by no program of its settings.
ALONE = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}
_HALVES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_COMPLAINT = re.compile(r"^(fatal|error|ERROR|remote): *")
# ssh has said before what the matter is; this is git's guess at it.
_BOILERPLATE = re.compile(
    r"fatal: Could not read from remote|Please make sure you have|and the repository exists|warning: "
)
_SSH_FLAGS = "-oBatchMode=yes -oConnectTimeout=15 -oServerAliveInterval=15 -oServerAliveCountMax=4"
# So little is a full disk: what did not fit may have been larger than what is left.
_FULL = 1 << 20


@dataclass(frozen=True)
class Completed:
    """How a git command ended: exit code (negative: signal), stdout, and the end of stderr.

    `is_cut`: it wrote more than was accepted, and was ended.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes
    is_cut: bool = False

    @property
    def reason(self) -> str:
        """Return the line of stderr that says most: the first fatal or error one, else the last."""
        lines = [line.strip() for line in self.stderr.decode("utf-8", "replace").splitlines()]
        lines = [line for line in lines if line and not _BOILERPLATE.match(line)]
        telling = [n for n, line in enumerate(lines) if _COMPLAINT.match(line)]
        chosen = telling[0] if telling else len(lines) - 1
        if not lines:
            return "exit code %d" % self.exit_code
        told = lines[chosen]
        if told.endswith(":"):  # the reason stands on the next line
            told = " ".join([told, *lines[chosen + 1 : chosen + 2]])
        return without_credentials(_COMPLAINT.sub("", told).rstrip(".:"))


def environment(extra: Optional[Mapping[str, str]] = None, *, user_settings: bool = False) -> Dict[str, str]:
    """Return the environment of every git command: English, unattended, pointing nowhere.

    `user_settings`: git follows the user's and the system's configuration.
    """
    env = {
        name: value for name, value in os.environ.items() if not name.startswith("GIT_") or _KEPT.match(name)
    }
    env.update(
        GIT_TERMINAL_PROMPT="0",
        GIT_ASKPASS="",  # empty, not absent: absent falls back to SSH_ASKPASS
        SSH_ASKPASS_REQUIRE="never",
        GIT_LFS_SKIP_SMUDGE="1",
        GIT_OPTIONAL_LOCKS="0",
        GIT_PAGER="cat",
        GIT_EDITOR="true",
        GIT_LITERAL_PATHSPECS="1",
        GIT_NO_REPLACE_OBJECTS="1",
        GIT_ATTR_NOSYSTEM="1",
        LC_ALL="C",
        LANGUAGE="",
    )
    env.update({} if user_settings else _NO_SETTINGS)
    env.update(extra or {})
    return env


def ssh_environment() -> Dict[str, str]:
    """Return the variables that make ssh, as the user set it up, fail rather than ask."""
    command = os.environ.get("GIT_SSH_COMMAND", "")
    if not command:
        asked = subprocess.run(
            ["git", "config", "--get", "core.sshCommand"],
            capture_output=True,
            env=environment(user_settings=True),
            check=False,
        )
        command = asked.stdout.decode("utf-8", "surrogateescape").strip()
    if not command:
        command = shlex.quote(os.environ.get("GIT_SSH") or "ssh")
    program = os.path.basename((shlex.split(command) or ["ssh"])[0])
    return {"GIT_SSH_COMMAND": "%s %s" % (command, _SSH_FLAGS)} if program == "ssh" else {}


@dataclass(frozen=True)
class Git:
    """git in one directory: a bare mirror or a worktree.

    `is_ours`: it belongs to Offload. Else git refuses to read it if it belongs to another user.
    `settings`: overrides for a repository whose settings others write (see `job_repository`); such a git
    works on this directory, whatever they say, and talks to no other repository.
    """

    directory: str
    is_ours: bool = True
    settings: Optional[Tuple[str, ...]] = None

    def run(
        self,
        *args: str,
        check: bool = True,
        input: bytes = b"",
        deadline: float = LOCAL_SECONDS,
        config: Sequence[str] = (),
        env: Optional[Mapping[str, str]] = None,
        doing: str = "",
        user_settings: bool = False,
        limit: int = OUTPUT_LIMIT,
        cut: bool = False,
    ) -> Completed:
        """Run a command to its end. With `check`, a failure raises `RunnerError`; see `fail` for its codes.

        `config` holds further `name=value` overrides; `doing` says what we were about, for the message.
        `user_settings`: the command talks to another repository, as the user's configuration says.
        More than `limit` bytes of output raise `RunnerError` (`too_large`), or are cut off with `cut`.
        """
        argv = command_line(args, (*(self.settings or ()), *config), is_ours=self.is_ours)
        try:
            # What is no repository any more must not be taken for a part of one above it.
            above = {"GIT_CEILING_DIRECTORIES": os.path.dirname(os.path.abspath(self.directory))}
            if self.settings is not None:
                above.update(ALONE, GIT_WORK_TREE=self.directory)
            follows = user_settings or not self.is_ours
            full = environment({**above, **(env or {})}, user_settings=follows)
            done = _communicate(argv, self.directory, full, input, deadline, limit)
        except FileNotFoundError as exc:
            if not os.path.isdir(self.directory):
                raise RunnerError("git_failed", "The directory %s is not there." % self.directory) from exc
            raise RunnerError(
                "git_missing",
                "git is not installed on the worker.",
                hint="Install git there.",
                exit_code=EXIT_UNAVAILABLE,
            ) from exc
        except subprocess.TimeoutExpired as exc:
            raise RunnerError(
                "timed_out",
                "%s did not end within %d seconds." % (doing or "git " + args[0], deadline),
                hint="Try again; when it happens again, run the command by hand on the worker.",
                exit_code=EXIT_UNAVAILABLE,
            ) from exc
        if done.is_cut:
            if cut:
                return done
            raise RunnerError(
                "too_large",
                "%s failed: git printed more than %d bytes." % (doing or "Running git %s" % args[0], limit),
                hint="Look for very large files or very many names in the repository.",
                exit_code=EXIT_SOFTWARE,
            )
        if check and done.exit_code != 0:
            doing = doing or "Running git %s" % args[0]
            # git does not say why a file of a checkout could not be written.
            if b"unable to write" in done.stderr and _free_bytes(self.directory) < _FULL:
                raise out_of_space(doing)
            fail(doing, done)
        return done

    def out(self, *args: str, **options: str) -> bytes:
        """Return what a command prints."""
        return self.run(*args, doing=options.get("doing", "")).stdout

    def beginning(self, limit: int, *args: str) -> bytes:
        """Return the first `limit` bytes of what a command prints."""
        return self.run(*args, limit=limit, cut=True).stdout

    def line(self, *args: str) -> str:
        """Return what a command prints, as one line of text."""
        return self.out(*args).decode("utf-8", "replace").strip()

    def ok(self, *args: str) -> bool:
        """Tell whether a command exits with 0."""
        return self.run(*args, check=False).exit_code == 0

    def commit(self, name: str) -> str:
        """Return the id of the commit that `name` stands for, or "" when there is none."""
        done = self.run(
            "rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{commit}", check=False
        )
        return done.stdout.decode("ascii").strip() if done.exit_code == 0 else ""


def command_line(args: Sequence[str], config: Sequence[str] = (), *, is_ours: bool = True) -> List[str]:
    """Return the argv of a git command with our overrides; `is_ours`: see `Git`."""
    argv = ["git", *(["-c", _OURS] if is_ours else [])]
    for setting in (*OVERRIDES, *config):
        argv += ["-c", setting]
    return [*argv, *args]


def fail(doing: str, done: Completed) -> NoReturn:
    """Raise the error that a failed command stands for: `no_space`, `foreign_repository`, or `git_failed`."""
    if no_space(done):
        raise out_of_space(doing)
    refuse_foreign(done)
    raise RunnerError("git_failed", "%s failed: %s." % (doing, done.reason), exit_code=EXIT_SOFTWARE)


def refuse_foreign(done: Completed) -> None:
    """Raise `RunnerError` (`foreign_repository`) when git refused a repository of another user.

    Its configuration can name programs, which git would run as the caller.
    """
    found = _FOREIGN.search(done.stderr)
    if found:
        place = shown(text(found[1] or found[2]))
        raise RunnerError(
            "foreign_repository",
            "%s belongs to another user, so git does not read it." % place,
            hint="If you trust its owner: `git config --global --add safe.directory %s`."
            % shlex.quote(place),
            exit_code=EXIT_REFUSED,
        )


def no_space(done: Completed) -> bool:
    """Tell whether a command failed because the disk, or the user's share of it, is full."""
    text = done.stderr
    return done.exit_code != 0 and (b"No space left on device" in text or b"Disk quota exceeded" in text)


def _free_bytes(directory: str) -> int:
    disk = os.statvfs(directory)
    return 0 if disk.f_files and not disk.f_favail else disk.f_bavail * disk.f_frsize


def is_no_space(exc: OSError) -> bool:
    """Tell whether an error of the operating system means a full disk."""
    return exc.errno in (errno.ENOSPC, errno.EDQUOT)


def out_of_space(doing: str) -> RunnerError:
    """Return the error for a full disk."""
    return RunnerError(
        "no_space",
        "%s failed: the worker's disk is full." % doing,
        hint="Remove jobs that are no longer needed, or enlarge the disk; nothing half-made was left.",
        exit_code=EXIT_UNAVAILABLE,
    )


def _die_with_parent() -> Optional[Callable[[], None]]:
    # A runner that is killed must not leave a git behind that goes on writing to the mirror.
    if not sys.platform.startswith("linux"):
        return None
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    return lambda: prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


_PREEXEC = _die_with_parent()


def _communicate(
    argv: List[str], cwd: str, env: Dict[str, str], data: bytes, deadline: float, limit: int
) -> Completed:
    # In a session of its own, so that the deadline ends git's children (ssh, index-pack) with it.
    with subprocess.Popen(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.PIPE if data else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=_PREEXEC,
    ) as process:
        try:
            stdout, stderr = _talk(process, data, time.monotonic() + deadline, limit)
            if len(stdout) > limit:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(deadline)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return Completed(process.returncode, stdout[:limit], stderr, len(stdout) > limit)


def _talk(process: "subprocess.Popen[bytes]", data: bytes, end: float, limit: int) -> Tuple[bytes, bytes]:
    """Give a process its input and take its output, until that ends or stdout has more than `limit` bytes."""
    stdin, waiting = process.stdin, memoryview(data)
    outputs = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for pipe in outputs:
            selector.register(pipe, selectors.EVENT_READ)  # type: ignore[arg-type]
        if stdin is not None:
            os.set_blocking(stdin.fileno(), False)
            selector.register(stdin, selectors.EVENT_WRITE)
        while selector.get_map() and len(outputs[process.stdout]) <= limit:
            left = end - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(process.args, 0)
            for key, _ in selector.select(left):
                if key.fileobj is stdin:
                    with contextlib.suppress(BlockingIOError):
                        try:
                            waiting = waiting[os.write(key.fd, waiting[:65536]) :]
                        except BrokenPipeError:
                            waiting = waiting[:0]
                    if not waiting:
                        selector.unregister(stdin)
                        stdin.close()
                    continue
                block = os.read(key.fd, 65536)
                if not block:
                    selector.unregister(key.fileobj)
                outputs[key.fileobj] += block  # type: ignore[index]
                del outputs[process.stderr][:-_STDERR_TAIL]
    return bytes(outputs[process.stdout]), bytes(outputs[process.stderr])


def without_credentials(url: str) -> str:
    """Return a text with the user and password of the URLs in it taken out."""
    return re.sub(r"(https?://)[^/@\s]+@|(://[^/@\s:]+):[^/@\s]+@", lambda m: m[1] or m[2] + "@", url)


def text(path: bytes) -> str:
    """Return a path of git as text; bytes that are not UTF-8 survive the way back through `os.fsencode`."""
    return path.decode("utf-8", "surrogateescape")


def raw(path: str) -> bytes:
    """Return the bytes of a path that `text` made."""
    return writable(path).encode("utf-8", "surrogateescape")


def writable(text: str) -> str:
    """Return a text in which halves of characters, as JSON may hold them, are replaced.

    Those that stand for the bytes of a path stay.
    """
    return _HALVES.sub("\ufffd", text)


def shown(path: str) -> str:
    """Return a path as it can be printed and stored anywhere: one line, valid Unicode."""
    readable = raw(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in readable)


def split(output: bytes) -> List[bytes]:
    """Return the parts of an output written with `-z`."""
    parts = output.split(b"\0")
    if parts and parts[-1] == b"":
        parts.pop()
    return parts
