"""Completion for bash, zsh and fish: the scripts, and the answer to what comes next.

The answer reads SQLite directly, because starting Django takes longer than a user waits for a Tab key.
"""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jobs import invocation
from jobs.cli.fleet_verbs import FLEET
from jobs.cli.options import Option, Verb
from jobs.cli.parser import LAUNCH_NAME, find_verb
from jobs.cli.verbs import ACTIONS, LAUNCH, OFFLOAD, VERBS
from jobs.home import DATABASE, locate_home

Choice = tuple[str, str]  # what completes the word, and its description
MOST_TARGETS = 200
BUSY_SECONDS = 0.05
_WORD = re.compile(r"[\w./:@%+=,-]+")

_BASH = r"""
_offload() {
    local line=${COMP_LINE:0:COMP_POINT} current prefix
    local -a words
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    current=${words[-1]}
    # bash replaces only what follows the last ":" or "=".
    prefix=${current%"${current##*[:=]}"}
    local IFS=$'\n'
    COMPREPLY=($(PROGRAM __complete "${words[@]:1}" 2>/dev/null | cut -f1))
    COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
}
complete -o default -F _offload offload manage.py
"""
_ZSH = r"""
_offload() {
    local -a found
    local line
    while IFS= read -r line; do
        found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done < <(PROGRAM __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
    _describe 'offload' found || _files
}
compdef _offload offload manage.py
"""
_FISH = r"""
function __offload_complete
    set -l words (commandline -opc) (commandline -ct)
    PROGRAM __complete $words[2..-1] 2>/dev/null
end
complete -c offload -c manage.py -f -a '(__offload_complete)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def script(shell: str) -> str:
    """Return the completion script of a shell: `bash`, `zsh` or `fish`."""
    program = [*invocation.program()]
    if program[-1:] == ["offload"] and len(program) > 1:
        # Completion runs in any directory.
        program[:-1] = [str(Path(word).absolute()) if os.sep in word else word for word in program[:-1]]
        program[-2] = str(Path(program[-2]).absolute())
    return _SCRIPTS[shell].replace("PROGRAM", shlex.join(program)).lstrip("\n")


def print_choices(words: Sequence[str]) -> int:
    """Print what can complete the last word, one choice per line: the word, a tab, its description."""
    for word, description in choices(words):
        print(f"{word}\t{description}")
    return 0


def choices(words: Sequence[str]) -> list[Choice]:
    """Return what can complete the last of the words after the program's name."""
    if words and words[0] == "offload":  # `manage.py offload ...`
        words = words[1:]
    *before, partial = words or [""]
    found = [choice for choice in _candidates(before, partial) if choice[0].startswith(partial)]
    # A shell puts the word on its line as it is: not one that the shell would expand.
    return [(word, " ".join(about.split())) for word, about in found if _WORD.fullmatch(word)]


def _candidates(before: Sequence[str], partial: str) -> Iterator[Choice]:
    name, rest = find_verb(before)
    if name == "fleet":
        yield from ((verb, FLEET[verb].help) for verb in FLEET)
        return
    verb = VERBS.get(name, LAUNCH)
    option = _awaits_value(verb, rest)
    if option is not None:
        yield from _values_of(option)
        return
    if partial.startswith("-"):
        yield from ((f"--{key.replace('_', '-')}", option.help) for key, option in verb.options.items())
        return
    position = len(_positional(verb, rest))
    if name == LAUNCH_NAME and position == 0:
        yield from ((verb_name, each.help) for verb_name, each in OFFLOAD.items())
        yield "fleet", "Manage the machines that run jobs."
    if position < len(verb.names):
        yield from _words_of(verb.names[position])
    if verb.repeats and position:
        yield from _words_of(verb.names[0])
        if position >= len(verb.names):
            yield from _words_of(verb.names[-1])


def _words_of(expected: str) -> Iterator[Choice]:
    if "|" in expected:
        yield from ((word, "") for word in expected.split("|"))
    elif expected == "TARGET":
        yield from _targets()
    elif expected == "ACTION":
        yield from ACTIONS.items()
    elif expected == "WORKER":
        yield from _workers()
    elif expected == "VERB":
        yield from ((verb, each.help) for verb, each in OFFLOAD.items())
        yield "fleet", "Manage the machines that run jobs."
    elif expected == "FLEET_VERB":
        yield from ((verb, each.help) for verb, each in FLEET.items())


def _values_of(option: Option) -> Iterator[Choice]:
    yield from ((choice, "") for choice in option.choices)
    if option.complete == "worker":
        yield from _workers()
    if option.complete == "pool":
        yield from ((name, "pool") for (name,) in _rows("SELECT name FROM jobs_pool ORDER BY name"))
    if option.complete == "repository":
        yield from _rows("SELECT slug, url FROM jobs_repository ORDER BY slug")


def _spelled(verb: Verb) -> dict[str, Option]:
    return {
        spelling: option
        for key, option in verb.options.items()
        for spelling in (f"--{key.replace('_', '-')}", option.short)
        if spelling
    }


def _awaits_value(verb: Verb, words: Sequence[str]) -> Option | None:
    """Return the option that the next word is the value of."""
    option = _spelled(verb).get(words[-1]) if words else None
    return option if option is not None and not option.is_flag else None


def _positional(verb: Verb, words: Sequence[str]) -> list[str]:
    options, found, skip = _spelled(verb), [], False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("-"):
            option = options.get(word)
            skip = option is not None and not option.is_flag
        else:
            found.append(word)
    return found


def _rows(query: str) -> list[Any]:
    """Read the SQLite database of this home; nothing when there is none, or another one is configured."""
    path = locate_home()[0] / DATABASE
    if os.environ.get("OFFLOAD_DATABASE_URL") or not path.is_file():
        return []
    try:
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_SECONDS)
        try:
            return database.execute(query).fetchall()
        finally:
            database.close()
    except sqlite3.Error:
        return []


def _targets() -> Iterator[Choice]:
    rows = _rows(
        "SELECT COALESCE(CAST(number AS TEXT), target), name, action, state FROM jobs_job"  # noqa: S608
        f" WHERE removed_at IS NULL ORDER BY id DESC LIMIT {MOST_TARGETS}"
    )
    seen: dict[str, str] = {}
    for target, name, action, state in rows:
        word = f"{target}:{name}" if name else target
        seen[word] = ", ".join(filter(None, [seen.get(word, ""), f"{action} {state}"]))
    yield from seen.items()


def _workers() -> Iterator[Choice]:
    yield from ((name, state) for name, state in _rows("SELECT name, state FROM jobs_worker ORDER BY name"))
