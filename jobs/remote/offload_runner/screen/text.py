"""Signs, durations and sentences, for people."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

from jobs.remote.offload_runner.protocol import (
    CANCELLED,
    FAILED,
    INTERRUPTED,
    PENDING,
    RUNNING,
    SKIPPED,
    SUCCEEDED,
)

SIGNS: Dict[str, str] = {
    PENDING: "·",
    RUNNING: "▸",
    SUCCEEDED: "✓",
    FAILED: "✗",
    SKIPPED: "–",
    CANCELLED: "⊘",
    INTERRUPTED: "↯",
}
# What a task is called while it stands so; not by colour or sign alone.
WORDS: Dict[str, str] = {
    PENDING: "waiting",
    RUNNING: "running",
    SUCCEEDED: "ok",
    FAILED: "failed",
    SKIPPED: "skipped",
    CANCELLED: "cancelled",
    INTERRUPTED: "cut off",
}
VERDICTS: Dict[str, str] = {"pass": "PASS", "needs_work": "NEEDS WORK", "fail": "FAIL"}
REASONS: Dict[str, str] = {
    "timeout": "ran into its time limit",
    "no_space": "the disk is full",
    "not_found": "the program was not found",
    "cannot_run": "the program could not be started",
}


def duration(seconds: float) -> str:
    """Return a length of time in at most seven characters: `0.4s`, `12.3s`, `4m 05s`, `2h 03m`."""
    if seconds < 99.95:
        return "%.1fs" % max(0.0, seconds)  # a clock that was set back
    whole = int(seconds)
    if whole < 3600:
        return "%dm %02ds" % (whole // 60, whole % 60)
    return "%dh %02dm" % (whole // 3600, whole % 3600 // 60)


def outcome_sentence(finished: Optional[Mapping[str, Any]]) -> str:
    """Return how a run ended."""
    if finished is None:
        return "Interrupted: start it again, and it goes on at the first unfinished task."
    verdict = VERDICTS.get(str(finished.get("verdict") or ""), "")
    sentence = {
        "succeeded": "Every task has ended.",
        "failed": "The job could not do its work.",
        "cancelled": "Cancelled.",
    }.get(str(finished.get("state")), "Ended.")
    detail = str(finished.get("detail") or "")
    return " ".join(part for part in ("Verdict: %s." % verdict if verdict else "", sentence, detail) if part)
