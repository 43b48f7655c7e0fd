"""Talking to the repository that a job is for: which refs it has, and fetching them."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, NoReturn, Optional

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.git.command import (
    FETCH_SECONDS,
    TALK_SECONDS,
    Completed,
    Git,
    fail,
    no_space,
    out_of_space,
    refuse_foreign,
    ssh_environment,
    without_credentials,
)
from jobs.remote.offload_runner.protocol import EXIT_NOT_FOUND, EXIT_UNAVAILABLE, EXIT_USAGE

_USER, _TOKEN = "OFFLOAD_GIT_USER", "OFFLOAD_GIT_TOKEN"
_HELPER = '!f() { test "$1" = get && printf "username=%%s\\npassword=%%s\\n" "$%s" "$%s"; }; f' % (
    _USER,
    _TOKEN,
)
_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_REF = re.compile(r"(?!-)(?!.*\.\.)[^\x00-\x20\x7f~^:?*\[\\]+")
_USUAL_BASES = ("refs/heads/main", "refs/heads/master")
_NO_REPOSITORY = re.compile(
    r"does not appear to be a git repository|not a git repository|repository .*not found", re.IGNORECASE
)
_BROKEN_LINE = re.compile(
    r"could not read from remote|early EOF|RPC failed|unable to access|hung up"
    r"|connection|timed out|unexpected disconnect",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Remote:
    """A repository elsewhere: a URL, or a path on this machine.

    `is_elsewhere`: the path is one of another machine, and the commits were sent from there.
    """

    url: str
    slug: str
    is_elsewhere: bool = False
    user: str = ""
    token: str = field(default="", repr=False)

    @property
    def is_local(self) -> bool:
        """Tell whether it is on this machine's disk."""
        return not self.is_elsewhere and self.url.startswith(("/", "file://", "./", "../"))

    @property
    def shown(self) -> str:
        """Return the URL without credentials."""
        return without_credentials(self.url)

    @property
    def settings(self) -> List[str]:
        """Return the overrides of git's configuration that the kind of URL asks for."""
        return ["protocol.file.allow=always"] if self.is_local else []

    def environment(self) -> Dict[str, str]:
        """Return the variables that the kind of URL asks for."""
        if self.is_local:
            # What a partial clone lacks, upload-pack fetches from the clone's origin only if it is told to.
            return {"GIT_NO_LAZY_FETCH": "0"}
        if self.token and self.url.startswith("https://"):
            return self._credentials()
        if self.url.startswith(("http://", "https://", "git://")):
            return {}
        return ssh_environment()

    def _credentials(self) -> Dict[str, str]:
        """Return the variables by which git, and no other program, answers this repository with the token.

        git asks the helper when the server demands a login, and only for this address: not for another
        host that the server redirects to, nor for another repository (a submodule, say) of the same host.
        """
        section = "credential.%s" % self.url.rstrip("/")
        settings = [
            (section + ".helper", ""),  # before the user's own, which may know another login
            (section + ".helper", _HELPER),
            (section + ".useHttpPath", "true"),
        ]
        env = {"GIT_CONFIG_COUNT": str(len(settings)), _USER: self.user or "git", _TOKEN: self.token}
        for number, (name, value) in enumerate(settings):
            env["GIT_CONFIG_KEY_%d" % number] = name
            env["GIT_CONFIG_VALUE_%d" % number] = value
        return env


@dataclass(frozen=True)
class RemoteRefs:
    """What a remote has: `refs` by full name, `head` the ref that its HEAD points at (or "HEAD")."""

    refs: Dict[str, str] = field(default_factory=dict)
    head: str = ""
    origin_head: str = ""  # of a clone: the branch that the clone's own origin calls HEAD

    def find(self, name: str) -> str:
        """Return the full name of a ref, given that or a short one; "" when it is not there."""
        if name == "HEAD":
            return self.head
        for candidate in (name, "refs/heads/" + name, "refs/tags/" + name):
            if candidate in self.refs:
                return candidate
        return ""

    def default_base(self, head_ref: str) -> str:
        """Return the branch that a change is compared with by default.

        That is the remote's HEAD. A working clone has the change itself checked out: there the
        branch that its origin calls HEAD, or a branch of the usual name, is the better answer.
        """
        ours = self.origin_head.replace("refs/remotes/origin/", "refs/heads/", 1)
        usual = [name for name in (ours, self.origin_head, *_USUAL_BASES) if name in self.refs]
        if not self.head or self.head == head_ref:
            return next((name for name in usual if name != head_ref), self.head or (usual or [""])[0])
        return self.head


def is_sha(ref: str) -> bool:
    """Tell whether a ref is a commit's full id."""
    return bool(_SHA.fullmatch(ref))


def check_ref(ref: str) -> None:
    """Refuse what cannot be the name of a ref."""
    if ref and not _REF.fullmatch(ref):
        raise RunnerError("usage", "%r is not the name of a ref." % ref, exit_code=EXIT_USAGE)


def ask(root: Path, remote: Remote, wanted: List[str]) -> RemoteRefs:
    """Ask a remote, in one round trip, for HEAD, the usual base branches and the refs in `wanted`.

    Raises `RunnerError`: `repository_unreachable` or `not_a_repository`.
    """
    if remote.is_local:
        path = remote.url[len("file://") :] if remote.url.startswith("file://") else remote.url
        if not os.path.isdir(path) and not os.path.isfile(path):
            raise _not_a_repository(remote, "nothing is there")
    names: List[str] = []  # all of them, where asking costs nothing
    if not remote.is_local:
        names = ["HEAD", *_USUAL_BASES, *[name for name in wanted if name and not is_sha(name)]]
    done = _talk(root, remote, "ls-remote", "--symref", "--", remote.url, *names)
    if done.exit_code != 0:
        _unreachable(remote, done)
    refs: Dict[str, str] = {}
    symbolic: Dict[str, str] = {}
    for line in done.stdout.decode("utf-8", "surrogateescape").splitlines():
        value, _, name = line.partition("\t")
        if value.startswith("ref: "):
            symbolic[name] = value[len("ref: ") :]
        elif name and not name.endswith("^{}"):
            refs[name] = value
    origin = symbolic.get("refs/remotes/origin/HEAD", "")
    head = symbolic.get("HEAD", "HEAD") if "HEAD" in refs else ""
    if head != "HEAD" and head:
        refs.setdefault(head, refs["HEAD"])
    return RemoteRefs(refs=refs, head=head, origin_head=origin)


def fetch(git: Git, remote: Remote, refs: Dict[str, str]) -> None:
    """Fetch exactly `refs` (ours -> theirs), with all their history, and no other.

    Raises `RunnerError`: `repository_unreachable`, `ref_not_found`, `no_space`, `git_failed`.
    """
    specs = ["+%s:%s" % (theirs, ours) for ours, theirs in sorted(refs.items())]
    done = git.run(
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-auto-gc",
        "--no-show-forced-updates",
        "--update-shallow",
        "--",
        remote.url,
        *specs,
        check=False,
        deadline=FETCH_SECONDS,
        env=remote.environment(),
        user_settings=True,
        config=remote.settings,
        doing="Fetching from %s" % remote.shown,
    )
    if done.exit_code == 0:
        return
    doing = "Fetching %s from %s" % (" and ".join(sorted(set(refs.values()))), remote.shown)
    if no_space(done):
        raise out_of_space(doing)
    complaint = done.stderr.decode("utf-8", "replace")
    if re.search(r"couldn't find remote ref|not our ref|no such remote ref", complaint):
        raise RunnerError(
            "ref_not_found",
            "%s failed: %s." % (doing, done.reason),
            hint="It may have been deleted a moment ago; look again at the target.",
            exit_code=EXIT_NOT_FOUND,
        )
    if _BROKEN_LINE.search(complaint) or _NO_REPOSITORY.search(complaint):
        _unreachable(remote, done)
    fail(doing, done)


def not_found(root: Path, remote: Remote, ref: str) -> RunnerError:
    """Return the error for a ref that the remote does not have, with a hint at what it has."""
    pattern = [] if remote.is_local else ["--heads"]
    done = _talk(root, remote, "ls-remote", *pattern, "--", remote.url)
    names = re.findall(
        r"\trefs/(heads/\S+|pull/\d+/head|merge-requests/\d+/head)", done.stdout.decode("utf-8", "replace")
    )
    short = [name[len("heads/") :] if name.startswith("heads/") else name for name in names]
    wanted = re.sub(r"^refs/(heads/)?", "", ref)
    close = difflib.get_close_matches(wanted, short, n=3, cutoff=0.6)
    if close:
        hint = "Did you mean %s?" % ", ".join(close)
    elif short:
        more = len(short) - 8
        hint = "It has %s%s." % (", ".join(short[:8]), " and %d more" % more if more > 0 else "")
    else:
        hint = "It has no branches at all: nothing was pushed to it yet."
    if re.match(r"refs/(pull|merge-requests)/", ref) and not remote.is_local:
        hint = "Is the number right, and is it this repository's? %s" % hint
    if re.fullmatch(r"[0-9A-Fa-f]{7,39}", wanted):
        hint = "If it is a commit, give its full id. %s" % hint
    return RunnerError(
        "ref_not_found", "%s has no %s." % (remote.shown, ref), hint=hint, exit_code=EXIT_NOT_FOUND
    )


def _talk(root: Path, remote: Remote, *args: str) -> Completed:
    try:
        return Git(str(root)).run(
            *args,
            check=False,
            deadline=TALK_SECONDS,
            env=remote.environment(),
            user_settings=True,
            config=remote.settings,
        )
    except RunnerError as exc:
        if exc.code != "timed_out":
            raise
        raise _no_answer(remote, "no answer within %d seconds" % TALK_SECONDS) from exc


def _unreachable(remote: Remote, done: Completed) -> NoReturn:
    refuse_foreign(done)
    if _NO_REPOSITORY.search(done.stderr.decode("utf-8", "replace")):
        raise _not_a_repository(remote, done.reason)
    raise _no_answer(remote, done.reason)


def _no_answer(remote: Remote, reason: str) -> RunnerError:
    return RunnerError(
        "repository_unreachable",
        "Reaching %s from the worker failed: %s." % (remote.shown, reason),
        hint="Try `git ls-remote %s` on the worker: it must work there without asking." % remote.shown,
        exit_code=EXIT_UNAVAILABLE,
    )


def _not_a_repository(remote: Remote, reason: Optional[str]) -> RunnerError:
    return RunnerError(
        "not_a_repository",
        "There is no git repository at %s: %s." % (remote.shown, reason),
        hint="Check the address%s." % ("" if remote.is_local else ", and that the worker may read it"),
        exit_code=EXIT_NOT_FOUND,
    )
