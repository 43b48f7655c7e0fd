"""The command line that the benchmarks share: `--rounds N` and `--json`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping

Result = Mapping[str, Mapping[str, float]]


def report(
    about: str | None,
    measure: Callable[[int], Result],
    line: Callable[[str, Mapping[str, float]], str],
    rounds: int = 9,
) -> None:
    """Measure and print: `line` makes a line of each row. `about`: the help; `rounds`: the usual number."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options.rounds)
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for name, row in result.items():
        print(line(name, row))
