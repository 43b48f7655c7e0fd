"""Test results as data: one `Case` a test, whatever the test runner wrote."""

from __future__ import annotations

from jobs.remote.offload_runner.steps.results.collect import collect
from jobs.remote.offload_runner.steps.results.model import (
    ERROR,
    FAILED,
    FAILING,
    PASSED,
    SKIPPED,
    XFAIL,
    Case,
    Results,
)

__all__ = [
    "ERROR",
    "FAILED",
    "FAILING",
    "PASSED",
    "SKIPPED",
    "XFAIL",
    "Case",
    "Results",
    "collect",
]
