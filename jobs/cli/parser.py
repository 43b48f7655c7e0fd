"""From the table of verbs to argparse: one parser per verb, so that each takes only options it honours."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from jobs import invocation
from jobs.cli.fleet_verbs import FLEET
from jobs.cli.options import Option, Verb
from jobs.cli.verbs import ACTIONS, EXIT_CODES, LAUNCH, OFFLOAD, VERBS

EXIT_USAGE = 2
HELP_WIDTH = 100
LAUNCH_NAME = ""


class Parser(argparse.ArgumentParser):
    """argparse, with usage errors in JSON when `--json` is given."""

    arguments: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        """Print a usage error and end with exit code 2."""
        if "--json" in self.arguments:
            print_error_json("usage", message, f"See `{self.prog} --help`.")
        else:
            self.print_usage(sys.stderr)
            print(f"{self.prog}: {message}", file=sys.stderr)
        sys.exit(EXIT_USAGE)


def print_error_json(code: str, message: str, hint: str) -> None:
    """Print an error in the form that `--json` promises."""
    print(json.dumps({"error": {"code": code, "message": message, "hint": hint or None}}))


def find_verb(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Return the name of the verb and the arguments without it. The name is empty for `offload TARGET`.

    The verb is the first argument that is neither an option nor the value of one.
    """
    rest = list(arguments)
    name = _first_word(rest)
    if name == "fleet":
        rest.remove(name)
        second = _first_word(rest)
        if second in FLEET:
            rest.remove(second)
            return f"fleet {second}", rest
        return "fleet", rest
    if name in OFFLOAD:
        rest.remove(name)
        return name, rest
    return LAUNCH_NAME, rest


def _first_word(arguments: Sequence[str]) -> str:
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument == "--":
            return ""
        elif argument.startswith("-"):
            skip = "=" not in argument and argument in _VALUE_OPTIONS
        else:
            return argument
    return ""


_VALUE_OPTIONS = frozenset(
    spelling
    for verb in (LAUNCH, *VERBS.values())
    for name, option in verb.options.items()
    if not option.is_flag
    for spelling in (f"--{name.replace('_', '-')}", option.short)
    if spelling
)


def parse(name: str, arguments: Sequence[str]) -> argparse.Namespace:
    """Return the words and options of a verb. A usage error ends the process with exit code 2."""
    verb = VERBS.get(name, LAUNCH)
    parser = make_parser(name)
    parser.arguments = arguments
    options = parser.parse_intermixed_args(list(arguments))
    if len(options.words) < verb.least and not getattr(options, "all_open", False):
        parser.error(f"{verb.names[len(options.words)]} is missing")
    if len(options.words) > len(verb.names) and not verb.repeats:
        left = " ".join(options.words[len(verb.names) :])
        parser.error(f"too many words: {left!r} is not expected")
    for word, expected in zip(options.words, verb.names, strict=False):
        if "|" in expected and word not in expected.split("|"):
            parser.error(f"{word!r} is not one of {expected.replace('|', ', ')}")
    return options


def make_parser(name: str) -> Parser:
    """Return the parser of a verb; of `offload TARGET` for an empty name."""
    verb = VERBS.get(name, LAUNCH)
    program = f"{invocation.command()} {name}".rstrip()
    parser = Parser(
        prog=program,
        usage=" ".join(filter(None, [program, verb.words, "[options]"])),
        description=_description(name, verb),
        epilog=_epilog(name, verb),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    for option_name, option in verb.options.items():
        _add_option(parser, option_name, option)
    parser.add_argument("--traceback", action="store_true", help=argparse.SUPPRESS)
    return parser


def _add_option(parser: argparse.ArgumentParser, name: str, option: Option) -> None:
    spellings = [spelling for spelling in (option.short, f"--{name.replace('_', '-')}") if spelling]
    settings: dict[str, Any] = {"help": option.help, "default": option.initial, "dest": name}
    if option.negatable:
        settings["action"] = argparse.BooleanOptionalAction
    elif option.is_flag:
        settings["action"] = "store_true"
    else:
        settings["type"] = _reader(option)
        if option.takes:
            settings["metavar"] = option.takes
        if option.repeat:
            settings["action"] = "append"
        if option.choices:
            settings["choices"] = option.choices
    parser.add_argument(*spellings, **settings)


def _reader(option: Option) -> Any:
    def read(text: str) -> Any:
        try:
            return option.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _wrapped(text: str, first: str = "", rest: str = "") -> str:
    """Return a paragraph in lines that fit the terminal; `first` and `rest` are put before its lines."""
    width = min(HELP_WIDTH, shutil.get_terminal_size((HELP_WIDTH, 0)).columns)
    return textwrap.fill(
        " ".join(text.split()), width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )


def _description(name: str, verb: Verb) -> str:
    parts = [_wrapped(verb.help), _wrapped(verb.details)]
    if name == LAUNCH_NAME:
        parts.append("actions:\n" + _listed(ACTIONS.items()))
        parts.append(
            f"verbs (`{invocation.command('help VERB')}` describes one):\n{_listed(_helps(OFFLOAD))}"
        )
        parts.append(f"  {'fleet VERB':<12} {FLEET_HELP}")
    return "\n\n".join(part for part in parts if part).replace("\n\n  fleet", "\n  fleet")


def _epilog(name: str, verb: Verb) -> str:
    parts = []
    if verb.example:
        parts.append(f"examples:\n{verb.example.replace('{offload}', invocation.command())}")
    if name == LAUNCH_NAME:
        parts.append(_wrapped(EXIT_CODES, rest="  "))
    return "\n\n".join(parts)


FLEET_HELP = "Manage the machines that run jobs."


def _listed(entries: Iterable[tuple[str, str]]) -> str:
    return "\n".join(_wrapped(text, first=f"  {name:<12} ", rest=" " * 15) for name, text in entries)


def _helps(verbs: Mapping[str, Verb]) -> list[tuple[str, str]]:
    return [(name, verb.help) for name, verb in verbs.items()]


def fleet_help() -> str:
    """Return the help of `offload fleet`."""
    program = invocation.command("fleet")
    examples = "\n".join(verb.example for verb in FLEET.values() if verb.example)
    return (
        f"usage: {program} VERB [options]\n\n{FLEET_HELP}\n\n"
        f"verbs (`{program} VERB --help` describes one):\n{_listed(_helps(FLEET))}\n\n"
        f"examples:\n{examples.replace('{offload}', invocation.command())}\n"
    )
