"""`hello`: the line that was printed before this is the whole answer."""

from __future__ import annotations

import argparse


def main(options: argparse.Namespace) -> int:
    """Do nothing more."""
    return 0
