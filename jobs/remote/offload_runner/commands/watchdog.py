"""`watchdog`: turn this machine off when it is idle, and say beforehand when and why.

A timer of the machine calls it each minute, as root. Jobs, attached terminals, programs in panes and ssh
logins keep the machine up, and so does the file `state/keep-until`. It writes `state/idle.json`:
`{"at", "boot_id", "idle_since", "stops_at", "because", "reasons": [{"kind", "text"}]}`, times in UTC;
`stops_at` is null while something keeps the machine up for an unknown time.

Idle time is measured by the monotonic clock, which neither a step of the wall clock nor a suspend moves.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from jobs.remote.offload_runner.engine import activity
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import read_json, state_dir, write_json
from jobs.remote.offload_runner.protocol import EXIT_OK
from jobs.remote.offload_runner.screen.tmux import from_options

OFF_DEADLINE = 60.0
_LONGEST_KEEP = 30 * 86400.0


def idle_file(root: Path) -> Path:
    """Return the file with the last observation (JSON)."""
    return state_dir(root) / "idle.json"


def keep_file(root: Path) -> Path:
    """Return the file with the moment (UTC, ISO 8601) until which the machine is kept on request."""
    return state_dir(root) / "keep-until"


def moment(seconds: float) -> str:
    """Return a Unix time as UTC text, to the second."""
    return datetime.fromtimestamp(int(seconds), timezone.utc).isoformat().replace("+00:00", "Z")


def _read_moment(text: str) -> Optional[float]:
    try:
        return datetime.fromisoformat(text.strip().replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


def read_keep(root: Path, before: Mapping[str, Any], now: float, clock: float) -> Tuple[str, float]:
    """Return the text of the keep file and the seconds it still holds; `("", 0.0)` when it holds no longer.

    The end is fixed on the monotonic clock when a text is first read, so that a step of the wall clock does
    not end it. Text that is no moment in the next 30 days counts as absent.
    """
    try:
        text = keep_file(root).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return "", 0.0
    known = before.get("keep") or {}
    end = known.get("ends") if known.get("text") == text else None
    if isinstance(end, (int, float)):
        left = end - clock
    else:
        until = _read_moment(text)
        left = until - now if until is not None else 0.0
    return (text, left) if 0 < left < _LONGEST_KEEP else ("", 0.0)


def _boot_id(proc: Path) -> str:
    try:
        return (proc / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def observe(options: argparse.Namespace, now: float, clock: float) -> Dict[str, Any]:
    """Return what `idle.json` is to say. `now`: Unix time; `clock`: the monotonic clock; both in seconds."""
    panes = activity.list_panes(from_options(options))
    processes = activity.read_processes(Path(options.proc))
    before = _last_observation(options)
    output = activity.follow_output(panes, before.get("panes") or {}, clock)
    reasons = [
        *activity.running_jobs(options.root),
        *activity.attached_terminals(panes),
        *activity.programs_in_panes(panes, processes, output, clock),
        *activity.ssh_logins(processes),
    ]
    return decide(options, before, reasons, output, now, clock)


def _last_observation(options: argparse.Namespace) -> Dict[str, Any]:
    """Return what `idle.json` says; empty when it was written before this boot."""
    found: Dict[str, Any] = read_json(idle_file(options.root)) or {}
    return found if found.get("boot_id") == _boot_id(Path(options.proc)) else {}


def decide(
    options: argparse.Namespace,
    before: Mapping[str, Any],
    reasons: List[activity.Reason],
    output: Mapping[str, Sequence[float]],
    now: float,
    clock: float,
) -> Dict[str, Any]:
    """Return what `idle.json` is to say, from the last observation, the present uses and the panes' output.

    `output`: see `activity.follow_output`.
    """
    root: Path = options.root
    began = before.get("idle_clock")
    if reasons or not isinstance(began, (int, float)) or began > clock:
        began = clock  # in use, or just booted
    # A pane that shows something new is in use, even when no terminal is attached to it.
    began = max([began, *(seen for _, seen in output.values() if seen <= clock)])
    keep, kept_for = read_keep(root, before, now, clock)
    remaining = 60.0 * options.idle_minutes - (clock - began)
    because = "nothing has been at work here since %s" % moment(now - (clock - began))
    if kept_for:
        if kept_for > remaining:
            because = "it is kept until then on request"
        remaining = max(remaining, kept_for)
        reasons.append({"kind": "keep", "text": "kept until %s on request" % moment(now + kept_for)})
    busy = [reason["text"] for reason in reasons if reason["kind"] != "keep"]
    return {
        "at": moment(now),
        "boot_id": _boot_id(Path(options.proc)),
        "idle_clock": began,
        "idle_since": moment(now - (clock - began)),
        "idle_minutes": options.idle_minutes,
        "panes": output,
        "keep": {"text": keep, "ends": clock + kept_for} if kept_for else None,
        "stops_at": None if busy else moment(now + remaining),
        "because": "; ".join(busy) or because,
        "reasons": reasons,
        "off": not busy and remaining <= 0,
    }


def main(options: argparse.Namespace) -> int:
    """Observe once; turn the machine off when it has been idle long enough."""
    if not options.idle_minutes > 0:
        raise RunnerError("usage", "--idle-minutes has to be more than 0.", exit_code=64)
    seen = observe(options, time.time(), time.monotonic())
    idle_file(options.root).parent.mkdir(parents=True, exist_ok=True)
    write_json(idle_file(options.root), seen)
    # A job may have begun meanwhile.
    if not seen["off"] or activity.running_jobs(options.root):
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
            "The next run, in a minute, tries again. The machine costs money meanwhile.",
        )
    return EXIT_OK
