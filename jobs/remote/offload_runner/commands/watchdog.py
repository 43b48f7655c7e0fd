"""`watchdog`: turn this machine off when nobody needs it, and say beforehand when and why.

Called each minute by a timer of the machine, as root. What keeps a machine up: a job at work, an attached
terminal, somebody logged in by ssh, the file `state/keep-until`. It writes `state/idle.json`:
`{"at", "boot_id", "idle_since", "stops_at", "because", "reasons": [{"kind", "text"}]}`, times in UTC;
`stops_at` is null while something keeps it up for an unknown time.
"""

from __future__ import annotations

import argparse
import glob
import os
import shlex
import subprocess
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from jobs.remote.offload_runner.engine.run_lock import is_held
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import all_jobs, read_json, state_dir, write_json
from jobs.remote.offload_runner.protocol import EXIT_OK
from jobs.remote.offload_runner.screen.tmux import Tmux, from_options

OFF_DEADLINE = 60.0
_LONGEST_KEEP = 30 * 86400.0

Reason = Dict[str, str]


def idle_file(root: Path) -> Path:
    """Return what the watchdog saw last (JSON)."""
    return state_dir(root) / "idle.json"


def keep_file(root: Path) -> Path:
    """Return the file with the moment (UTC, ISO 8601) until which the machine is kept on request."""
    return state_dir(root) / "keep-until"


def moment(seconds: float) -> str:
    """Return a moment in UTC, to the second."""
    return datetime.fromtimestamp(int(seconds), timezone.utc).isoformat().replace("+00:00", "Z")


def _seconds(text: Any) -> Optional[float]:
    try:
        return datetime.fromisoformat(str(text).strip().replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


def kept_until(root: Path, now: float) -> float:
    """Return until when the machine is kept on request; 0 when it is not. Nonsense counts as nothing."""
    try:
        until = _seconds(keep_file(root).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return 0.0
    return until if until is not None and now < until < now + _LONGEST_KEEP else 0.0


def jobs_at_work(root: Path) -> List[Reason]:
    """Return a reason for each job whose runner is at work."""
    return [
        {"kind": "job", "text": "%s is at work" % paths.session}
        for paths in all_jobs(root)
        if is_held(paths.lock)
    ]


def attached(tmux: Tmux, sockets: str = "/tmp/tmux-*") -> List[Reason]:  # noqa: S108 - tmux's own place
    """Return a reason for each session that a terminal is attached to; root looks at every user's server."""
    servers: List[List[str]] = [[]]
    if os.geteuid() == 0:
        found = sorted(path for place in glob.glob(sockets) for path in glob.glob(place + "/*"))
        servers += [["-S", path] for path in found]
    sessions: Dict[str, int] = {}
    for server in servers:
        words = ["list-clients", "-F", "#{client_session}"]
        if server:
            try:
                done = subprocess.run(
                    [tmux.program, *server, *words],
                    capture_output=True,
                    text=True,
                    errors="replace",
                    stdin=subprocess.DEVNULL,
                    timeout=15.0,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired):
                continue
        else:
            try:
                done = tmux.call(*words)
            except RunnerError:
                continue
        for name in done.stdout.split() if done.returncode == 0 else ():
            sessions[name] = sessions.get(name, 0) + 1
    return [{"kind": "terminal", "text": "a terminal is attached to %s" % name} for name in sorted(sessions)]


def _processes(proc: Path) -> Dict[int, Tuple[int, str]]:
    """Return parent and command line of each process."""
    found: Dict[int, Tuple[int, str]] = {}
    for entry in os.scandir(str(proc)):
        if not entry.name.isdigit():
            continue
        try:
            with open(os.path.join(entry.path, "stat"), errors="replace") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
            with open(os.path.join(entry.path, "cmdline"), "rb") as raw:
                words = raw.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except (OSError, ValueError, IndexError):
            continue
        found[int(entry.name)] = (parent, words)
    return found


def logged_in(proc: Path = Path("/proc")) -> List[Reason]:
    """Return a reason for each ssh login that is used.

    A login with a terminal is; one without (`@notty`) is when it runs something other than our own
    `follow`: the dashboard listens day and night, and must not keep a machine up.
    """
    processes = _processes(proc)
    reasons = []
    for pid, (_, words) in sorted(processes.items()):
        name, _, rest = words.partition(": ")
        if name not in ("sshd", "sshd-session") or "@" not in rest:
            continue
        user, _, where = rest.split()[0].partition("@")
        if where.startswith("notty"):
            work = [line for parent, line in processes.values() if parent == pid and not _listens(line)]
            if work:
                reasons.append({"kind": "ssh", "text": "%s runs a command by ssh" % user})
        else:
            reasons.append({"kind": "ssh", "text": "%s is logged in by ssh (%s)" % (user, where)})
    return reasons


def _listens(words: str) -> bool:
    """Tell whether a command line is our own way of listening to a machine."""
    return "runner-" in words and ".pyz" in words and " follow" in words


def _boot_id(proc: Path) -> str:
    try:
        return (proc / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def look(options: argparse.Namespace, now: float) -> Dict[str, Any]:
    """Return what `idle.json` is to say."""
    root: Path = options.root
    proc = Path(options.proc)
    reasons = jobs_at_work(root) + attached(from_options(options)) + logged_in(proc)
    before = read_json(idle_file(root)) or {}
    boot = _boot_id(proc)
    since = _seconds(before.get("idle_since")) if before.get("boot_id") == boot else None
    if reasons or since is None or since > now:
        # Just booted, just used, or the clock was set back: it begins anew.
        since = now
    keep = kept_until(root, now)
    stops = since + 60.0 * options.idle_minutes
    because = "nothing has been at work here since %s" % moment(since)
    if keep:
        stops = max(stops, keep)
        if stops == keep:
            because = "it is kept until then on request"
        reasons.append({"kind": "keep", "text": "kept until %s on request" % moment(keep)})
    busy = [reason["text"] for reason in reasons if reason["kind"] != "keep"]
    return {
        "at": moment(now),
        "boot_id": boot,
        "idle_since": moment(since),
        "idle_minutes": options.idle_minutes,
        "stops_at": None if busy else moment(stops),
        "because": "; ".join(busy) or because,
        "reasons": reasons,
        "off": not busy and now >= stops,
    }


def main(options: argparse.Namespace) -> int:
    """Look once; turn the machine off when it is time."""
    if not options.idle_minutes > 0:
        raise RunnerError("usage", "--idle-minutes has to be more than 0.", exit_code=64)
    seen = look(options, time.time())
    idle_file(options.root).parent.mkdir(parents=True, exist_ok=True)
    write_json(idle_file(options.root), seen)
    if not seen["off"]:
        return EXIT_OK
    # Once more: a job may have begun while we looked at the rest.
    if jobs_at_work(options.root):
        return EXIT_OK
    os.sync()
    try:
        done = subprocess.run(
            shlex.split(options.off_command), stdin=subprocess.DEVNULL, timeout=OFF_DEADLINE, check=False
        )
        failed = "" if done.returncode == 0 else "it ended with %d" % done.returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        failed = str(error)
    if failed:
        raise RunnerError(
            "off_failed",
            "Turning this machine off with `%s` failed: %s." % (options.off_command, failed),
            "It is tried again with the next look. It costs money meanwhile.",
        )
    return EXIT_OK
