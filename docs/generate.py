"""Writes the reference pages that follow from the code: `python docs/generate.py`.

A test compares the pages with what this would write, so that they cannot drift.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from docs import licences  # noqa: E402
from jobs import states  # noqa: E402
from jobs.cli import fleet_verbs, verbs  # noqa: E402
from jobs.cli.options import Verb  # noqa: E402
from jobs.remote.offload_runner import protocol  # noqa: E402
from offload_web import config  # noqa: E402

State = TypeVar("State", bound=StrEnum)
NOTE = "<!-- Written by docs/generate.py; edit the code, then run it. -->\n"


def _moves(title: str, moves: Mapping[State, frozenset[State]]) -> str:
    lines = [f"## {title}", "", "```mermaid", "stateDiagram-v2"]
    lines += [f"    {source} --> {target}" for source in moves for target in sorted(moves[source])]
    lines += ["```", "", "| from | to |", "|---|---|"]
    lines += [
        f"| `{source}` | {', '.join(f'`{target}`' for target in sorted(moves[source])) or 'nothing'} |"
        for source in moves
    ]
    return "\n".join(lines)


def states_page() -> str:
    """Return docs/states.md."""
    reasons = [
        f"| `{reason}` | {text} |"
        for reason, text in states.REASON_TEXT.items()
        if reason is not states.Reason.NONE
    ]
    parts = [
        "# States\n\n" + NOTE,
        "A job has a state (what the machine is doing), an attention (why a human is needed) and a\n"
        "verdict (what the evidence says about the commit). They are three columns, and\n"
        "`jobs/transitions.py` is the only writer: one conditional UPDATE, with the event in the same\n"
        "transaction. A move that is not in these tables is dropped.\n",
        _moves("Jobs", states.JOB_MOVES),
        "\n" + _moves("Workers", states.WORKER_MOVES),
        "\n## Reasons\n\n| reason | sentence |\n|---|---|\n" + "\n".join(reasons),
        "\n## Attention and verdict\n\n"
        f"Attention: {', '.join(f'`{item}`' for item in states.Attention if item)}, or none. "
        f"Verdict: {', '.join(f'`{item}`' for item in states.Verdict if item)}, or none.",
        "\n## Journal events\n\n" + ", ".join(f"`{kind}`" for kind in protocol.EVENT_KINDS) + ".",
    ]
    return "\n".join(parts) + "\n"


def settings_page() -> str:
    """Return docs/settings.md."""
    rows = [
        f"| `{item.key}` | `{item.variable}` | `{item.default!r}` | {item.help} |" for item in config.SETTINGS
    ]
    return (
        "# Settings\n\n" + NOTE + "\n"
        "An option overrides the environment, which overrides `config.toml`, which overrides the default.\n"
        "`offload doctor` prints each value with its source. `OFFLOAD_HOME` moves everything that\n"
        "Offload keeps (database, keys, logs, archives, `config.toml`, the local worker's root); without\n"
        "it they are in the XDG state and configuration directories and in `~/.offload`.\n\n"
        "| key in config.toml | variable | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


COMMAND_LINE = """Data goes to standard output; steps, questions and advice go to standard error. Without a
terminal nothing is asked and nothing attaches. Times are in your own time zone; those of `--json` are in UTC
(RFC 3339). `--json` prints one object with `schema`; an error is `{"error": {"code", "message", "hint"}}`.
The objects are those of the [HTTP API](api.md).

`ls` lists jobs in the groups of the dashboard: needs you, ready to act, running, queued, done. The last
column is the reason: the worst finding, what the job waits for, the tasks that run, or why it ended. A
narrow terminal leaves out the worker, the age and the repository, in this order.

A word that looks like a verb or an action with a typing error, or that is another program's name for one,
starts nothing: `branch:NAME` is the branch of that name. An option that an existing job does not have is
refused with the way to apply it.

With `OFFLOAD_URL` the jobs are those of a remote dashboard: see
[the command line on another computer](api.md#the-command-line-on-another-computer).

The ssh and https addresses of one repository are one repository, at their default ports and for the ssh
user `git`. Git fetches from the first that was named; `--repo ADDRESS` changes that."""


def _verb(name: str, verb: Verb) -> str:
    parts = [f"### `{' '.join(filter(None, ['offload', name, verb.words]))}`", verb.help]
    if verb.details:
        parts.append(" ".join(verb.details.split()))
    if verb.django:
        parts.append(f"`offload {name} --help` lists its options.")
    rows = []
    for key, option in verb.options.items():
        spelled = ", ".join(filter(None, [option.short, "--" + key.replace("_", "-")]))
        rows.append(f"| `{' '.join(filter(None, [spelled, option.takes]))}` | {option.help} |")
    if rows:
        parts.append("\n".join(["| option | meaning |", "|---|---|", *rows]))
    if verb.example:
        example = textwrap.dedent(verb.example.replace("{offload}", "offload"))
        parts.append(f"```sh\n{example}\n```")
    return "\n\n".join(parts)


def command_line_page() -> str:
    """Return docs/command-line.md."""
    actions = [f"| `{name}` | {text} |" for name, text in verbs.ACTIONS.items()]
    parts = [
        "# Command line\n\n" + NOTE.strip(),
        COMMAND_LINE,
        "## Actions\n\n| action | meaning |\n|---|---|\n" + "\n".join(actions),
        "## Exit codes\n\n" + " ".join(verbs.EXIT_CODES.split()).partition(": ")[2] + ".",
        "## Jobs",
        _verb("", verbs.LAUNCH),
        *(_verb(name, verb) for name, verb in verbs.OFFLOAD.items()),
        "## Machines",
        *(_verb(f"fleet {name}", verb) for name, verb in fleet_verbs.FLEET.items()),
    ]
    return "\n\n".join(parts) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {
    "states.md": states_page,
    "settings.md": settings_page,
    "command-line.md": command_line_page,
    "licences.md": licences.page,
    "../offload_web/static/offload/licences.txt": licences.texts,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
