"""A machine as it is: one look, in one round trip, that says whether it can run jobs.

The look is a POSIX shell script: it must tell of a machine that has neither Python nor tmux.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jobs.errors import NotConfigured
from jobs.providers.base import Problem, Severity
from jobs.providers.local import (
    FREE_NEEDED,
    FREE_WANTED,
    GIT_NEEDED,
    PYTHON_NEEDED,
    TMUX_NEEDED,
    read_version,
)
from jobs.remote.layout import DEFAULT_ROOT_NAME, Layout
from jobs.transport.base import Transport

LOOK_DEADLINE = 60.0
PARTS = ("bin", "jobs", "worktrees", "home", "base", "agents", "secret", "repos", "cache", "caches", "state")
_MARK = "offload-look"
NEEDED: Mapping[str, tuple[int, int]] = {"tmux": TMUX_NEEDED, "git": GIT_NEEDED, "python3": PYTHON_NEEDED}

# $1: root (empty: $2 in the home), $3: tmux, $4: git, $5: python, $6: "yes" to look for a container engine,
# $7: "yes" to ask what sudo would allow, $8...: the engine's words, when they are decided already.
# A program that is not on the PATH of commands may be on the one of a login shell.
_LOOK = r"""
say() { printf '%s\t%s\n' "$1" "$2"; }
# The dynamic loader and Python write to stderr as they like; only what does not run says nothing else.
line() {
  said=$("$@" 2>/dev/null </dev/null | head -n 1)
  if [ -n "$said" ]; then echo "$said"; else "$@" 2>&1 </dev/null | head -n 1; fi
}
program() {
  name=$1; shift
  if ! where=$(command -v "$1" 2>/dev/null); then
    where=$(at_login "$1")
    [ -n "$where" ] || return 0
    say login "$name"
  fi
  shift
  say "$name" "$where	$(line "$where" "$@")"
}
at_login() {
  case $1 in */*) return ;; esac
  limit=; command -v timeout >/dev/null 2>&1 && limit='timeout 10'
  paths=$($limit "${SHELL:-/bin/sh}" -l -c 'printf "\001%s\001" "$PATH"' 2>/dev/null </dev/null)
  paths=${paths#*"$mark"} paths=${paths%%"$mark"*}
  (IFS=:; for folder in $paths; do
    if [ -x "$folder/$1" ] && [ -f "$folder/$1" ]; then echo "$folder/$1"; break; fi
  done)
}
mark=$(printf '\001')
root=$1 usual=$2 tmux=$3 git=$4 python=$5 engine=$6 power=$7
shift 7
echo offload-look
say home "$HOME"; say uid "$(id -u)"; say user "$(id -un 2>/dev/null)"
[ -r /etc/os-release ] && say system "$(. /etc/os-release; printf %s "$PRETTY_NAME")"
program tmux "$tmux" -V
program git "$git" --version
program python3 "$python" -c 'import sys; print("Python %d.%d.%d" % sys.version_info[:3])'
for tool in apt-get dnf; do
  if command -v "$tool" >/dev/null 2>&1; then say installer "$tool"; break; fi
done
if [ "$(id -u)" = 0 ]; then say power root
elif [ "$power" = yes ] && sudo -n true 2>/dev/null </dev/null; then say power sudo; fi
[ -n "$root" ] || root=$HOME/$usual
say root "$root"
place=$root
while [ ! -e "$place" ] && [ "$place" != / ] && [ "$place" != . ]; do place=$(dirname "$place"); done
say place "$place"
if [ -d "$root" ]; then
  say kind directory
  set_of=$(ls -ldn -- "$root")
  say mode "${set_of%% *}"
  say owner "$(printf '%s\n' "$set_of" | { read -r _ _ uid _; echo "$uid"; })"
  for part in bin jobs worktrees home base agents repos cache caches state; do
    [ -e "$root/$part" ] && [ ! -w "$root/$part" ] && say blocked "$part"
  done
elif [ -e "$root" ]; then say kind file
else say kind absent; fi
[ -w "$place" ] && [ -x "$place" ] && say writable yes
say free "$(df -Pk "$place" 2>/dev/null | { read -r _; read -r _ _ _ free _; echo "$free"; })"
kept=$root/base/environments
if [ -r "$kept" ]; then
  count=$(ls -1 "$kept" | grep -c .) oldest=$(ls -1t "$kept" | tail -n 1)
  limit=; command -v timeout >/dev/null 2>&1 && limit='timeout 15'
  [ "$count" = 0 ] || say kept "$count $($limit du -sk "$kept" | cut -f 1) $(date -r "$kept/$oldest" +%s)"
fi
grep -qs '^ *KillUserProcesses *= *yes' /etc/systemd/logind.conf && say kills yes
if [ "$engine" = yes ]; then
  limit=; command -v timeout >/dev/null 2>&1 && limit='timeout 15'
  engine() {
    field='{{.Server.Version}}' word=version
    case "$*" in *podman*) field='{{.Version.Version}}' word=info ;; esac
    if answer=$($limit "$@" "$word" --format "$field" 2>&1 </dev/null); then
      say engine "$*	$(printf '%s\n' "$answer" | head -n 1)"; return 0
    fi
    say refused "$*	$(printf '%s\n' "$answer" | tail -n 1)"; return 1
  }
  if [ $# -gt 0 ]; then engine "$@"
  else
    if command -v docker >/dev/null 2>&1; then
      # A session's pane has no such variable: where the engine is must be in its words.
      if [ -n "$DOCKER_HOST" ]; then engine docker -H "$DOCKER_HOST" && exit 0; fi
      engine docker && exit 0
      engine sudo -n docker && exit 0
    fi
    if command -v podman >/dev/null 2>&1; then engine podman; fi
  fi
fi
exit 0
"""


@dataclass(frozen=True)
class Machine:
    """What a look saw. `programs`: name -> (path, what it says of its version); `free` in bytes."""

    home: str
    user: str
    uid: int
    system: str
    root: str
    kind: str  # of the root: directory, file, absent
    place: str  # the root, or the nearest directory above it that is there
    mode: str
    owner: int
    writable: bool
    blocked: tuple[str, ...]
    free: int | None
    programs: Mapping[str, tuple[str, str]]
    login: tuple[str, ...]  # programs that only a login shell finds
    installer: str
    power: str  # root, sudo, or nothing
    kills: bool
    engine: tuple[str, ...] = ()
    engine_version: str = ""
    refused: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = field(default=(), compare=False)
    # Of the environments of bases: how many, bytes, and when the oldest was made (seconds).
    kept: tuple[int, ...] = ()

    @property
    def failures(self) -> list[Problem]:
        """Return what stands in the way."""
        return [problem for problem in self.problems if problem.severity is Severity.FAIL]


async def look_at(
    transport: Transport,
    layout: Layout,
    *,
    root: str,
    container: bool = False,
    engine: Sequence[str] = (),
    power: bool = False,
) -> Machine:
    """Look at a machine, in one round trip; nothing on it is changed.

    `root` empty: the usual one in the user's home. `container`: an engine is needed (`engine`: this one).
    `power`: also ask whether sudo would work without a password. Raises `NotConfigured` for an account
    that runs no commands, or an error of the line.
    """
    argv = [
        "sh", "-c", _LOOK, "sh", root, DEFAULT_ROOT_NAME, layout.tmux, layout.git, layout.python,
        "yes" if container else "no", "yes" if power else "no", *engine,
    ]  # fmt: skip
    done = await transport.run(argv, deadline=LOOK_DEADLINE, check=False)
    before, mark, said = done.stdout.decode(errors="replace").partition(_MARK + "\n")
    if not mark:
        words = (done.stderr.decode(errors="replace").strip() or before.strip()).splitlines()
        raise NotConfigured(
            f"Looking at {transport.endpoint} failed: it runs no commands for us "
            f"({words[-1] if words else f'exit status {done.exit_status}'}).",
            hint="The account needs a POSIX shell that runs what ssh hands to it.",
        )
    named = {"tmux": layout.tmux, "git": layout.git, "python3": layout.python}
    return _judged(_read(said), named, container=container)


def _read(said: str) -> Machine:
    facts: dict[str, str] = {}
    blocked, refused, login = [], [], []
    for line in said.splitlines():
        key, _, value = line.partition("\t")
        if key == "blocked":
            blocked.append(value)
        elif key == "login":
            login.append(value)
        elif key == "refused":
            refused.append(value.replace("\t", ": "))
        else:
            facts[key] = value
    engine, _, version = facts.get("engine", "").partition("\t")
    programs = {}
    for name in NEEDED:
        if name in facts:
            path, _, text = facts[name].partition("\t")
            programs[name] = (path, text)
    return Machine(
        home=facts.get("home", "/"),
        user=facts.get("user", ""),
        uid=int(facts.get("uid") or 0),
        system=facts.get("system", ""),
        root=facts["root"],
        kind=facts["kind"],
        place=facts.get("place", "/"),
        mode=facts.get("mode", ""),
        owner=int(facts.get("owner") or -1),
        writable="writable" in facts,
        blocked=tuple(blocked),
        free=int(facts["free"]) * 1024 if facts.get("free", "").isdigit() else None,
        programs=programs,
        login=tuple(login),
        installer=facts.get("installer", ""),
        power=facts.get("power", ""),
        kills="kills" in facts,
        engine=tuple(engine.split()),
        engine_version=version,
        refused=tuple(refused),
        kept=_kept(facts.get("kept", "")),
    )


def _kept(told: str) -> tuple[int, ...]:
    words = told.split()
    if len(words) != 3 or not all(word.isdigit() and len(word) < 16 for word in words):
        return ()
    return int(words[0]), int(words[1]) * 1024, int(words[2])


def _judged(machine: Machine, named: Mapping[str, str], *, container: bool) -> Machine:
    found = [_program(machine, name, named[name]) for name in NEEDED]
    found += [_root(machine), _disk(machine)]
    if machine.kept:
        found.append(_environments(machine))
    if machine.kills:
        found.append(
            Problem(
                Severity.WARN,
                "sessions",
                "logind is set to end what a user leaves running (KillUserProcesses=yes).",
                f"Run `loginctl enable-linger {machine.user}` there, or sessions end with the connection.",
            )
        )
    if container:
        found.append(_engine(machine))
    return Machine(**{**machine.__dict__, "problems": tuple(found)})


def _program(machine: Machine, name: str, called: str) -> Problem:
    needed = NEEDED[name]
    remedy = (
        f"Install {name} {needed[0]}.{needed[1]} or newer there and put it on the PATH, or say where it is: "
    )
    remedy += f"`fleet add --program {name}=/path/to/{name}`."
    if machine.installer and machine.power:
        remedy += " `manage.py doctor WORKER --apply` can do it."
    if name not in machine.programs:
        where = "" if "/" in called else " on the PATH"
        return Problem(Severity.FAIL, name, f"There is no {called}{where}.", remedy)
    path, text = machine.programs[name]
    version = read_version(text)
    if version is None:
        # `tmux master` names no version; a program that does not run names none either.
        worst = Severity.WARN if name == "tmux" and text.startswith("tmux ") else Severity.FAIL
        return Problem(worst, name, f"{path} says {text!r}, which names no version.", remedy)
    if version < needed:
        return Problem(Severity.FAIL, name, f"{text} ({path}) is too old.", remedy)
    if name in machine.login:
        return Problem(Severity.WARN, name, f"{path} is on the PATH of login shells only.", remedy)
    return Problem(Severity.PASS, name, f"{text} ({path})")


def _root(machine: Machine) -> Problem:
    root, who = machine.root, machine.user or f"user {machine.uid}"
    if machine.kind == "file":
        return Problem(
            Severity.FAIL, "root", f"{root} is not a directory.", "Move it away, or name another --root."
        )
    if machine.kind == "absent":
        if machine.writable:
            return Problem(Severity.PASS, "root", f"{root} will be made by the first job.")
        return Problem(
            Severity.FAIL,
            "root",
            f"{root} cannot be made: {machine.place} is not writable for {who}.",
            f"Make it there: `sudo install -d -m 700 -o {who} {root}`.",
        )
    if machine.uid not in (0, machine.owner):
        return Problem(
            Severity.FAIL,
            "root",
            f"{root} belongs to user {machine.owner}, and we are {who}.",
            f"Give it to us there: `sudo chown -R {who} {root}`; or name another --root.",
        )
    if not machine.writable:
        return Problem(
            Severity.FAIL, "root", f"{root} is not writable for {who}.", f"`chmod u+rwx {root}` there."
        )
    if machine.blocked:
        parts = ", ".join(machine.blocked)
        return Problem(
            Severity.FAIL,
            "root",
            f"In {root}, {parts} cannot be written by {who}.",
            f"Give it to us there: `sudo chown -R {who} {root}`.",
        )
    if machine.mode[5:6] == "w" or machine.mode[8:9] == "w":
        return Problem(
            Severity.WARN,
            "root",
            f"{root} can be written by others ({machine.mode}), who could run code as {who}.",
            f"`chmod go-w {root}` there, or `manage.py doctor WORKER --apply`.",
        )
    return Problem(Severity.PASS, "root", f"{root} belongs to {who}.")


def _disk(machine: Machine) -> Problem:
    if machine.free is None:
        return Problem(
            Severity.WARN, "disk", f"How much is free for {machine.root} is unknown.", "Look with `df`."
        )
    text = f"{machine.free / (1 << 30):.1f} GiB are free for {machine.root}."
    remedy = "Remove old jobs with `manage.py offload rm`, enlarge the disk, or name a --root on another."
    if machine.free < FREE_NEEDED:
        return Problem(Severity.FAIL, "disk", text, remedy)
    return Problem(Severity.WARN if machine.free < FREE_WANTED else Severity.PASS, "disk", text, remedy)


def _environments(machine: Machine) -> Problem:
    count, size, oldest = machine.kept
    days = max(0, int(time.time() - oldest) // 86400)
    what = "1 environment of a base" if count == 1 else f"{count} environments of bases"
    age = "today" if not days else "yesterday" if days == 1 else f"{days} days ago"
    made = "made" if count == 1 else "the oldest made"
    text = f"{what} in {machine.root}/base/environments: {size / (1 << 20):.0f} MiB, {made} {age}."
    return Problem(Severity.PASS, "environments", text)


def _engine(machine: Machine) -> Problem:
    if machine.engine:
        words = " ".join(machine.engine)
        return Problem(Severity.PASS, "engine", f"`{words}` answers (version {machine.engine_version}).")
    detail = "; ".join(machine.refused) if machine.refused else "There is neither docker nor podman."
    return Problem(
        Severity.FAIL,
        "engine",
        f"No container engine answers: {detail}" if machine.refused else detail,
        "Install and start Docker (or Podman) there and let the ssh user use it, "
        "or add the worker with --no-container.",
    )
