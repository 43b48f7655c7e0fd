"""`offload setup`: write settings to `config.toml`."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings

from jobs.cli.offload.doctor import require_gcp
from jobs.cli.output import print_json, say
from jobs.cli.request import Request, ask
from jobs.errors import NotConfigured, UsageError
from jobs.invocation import command


async def run(request: Request) -> int:
    """Write the settings that --set names; without any, ask for the two most common ones."""
    if request.gcp:
        if request.set:
            raise UsageError("--set and --gcp cannot be combined.", hint="Run two commands.")
        from jobs.cli.offload.setup_gcp import setup_gcp

        return await setup_gcp(request)
    require_gcp(request)
    config = settings.OFFLOAD
    known = config.known()
    changes = dict(_pair(text, known) for text in request.set or ())
    if not changes and request.interactive:
        changes = await _ask(known)
        if not changes:
            print(f"Nothing was changed. {command('doctor')} shows all settings.")
            say("For machines at Google: `offload setup --gcp`.")
            return 0
    if not changes:
        raise UsageError(
            "No setting was given.", hint=f"Use --set KEY=VALUE. Keys: {', '.join(sorted(known))}."
        )
    try:
        path = config.write(changes)
    except NotConfigured as error:
        # The value came from the command line, so it is the command that is wrong.
        raise UsageError(error.message, hint=error.hint) from error
    if request.json:
        print_json("settings", {"file": str(path), "set": sorted(changes)})
    else:
        print(f"{path} now sets {', '.join(sorted(changes))}. {command('doctor')} shows all settings.")
        if request.interactive:
            say("For machines at Google: `offload setup --gcp`.")
    return 0


def _pair(text: str, known: Mapping[str, str]) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or key not in known:
        raise UsageError(
            f"{text!r} is not KEY=VALUE with a known key.",
            hint=f"Write KEY=VALUE. Keys: {', '.join(sorted(known))}.",
        )
    return key, value


async def _ask(known: Mapping[str, str]) -> dict[str, str]:
    """Ask for the two most common settings; an empty answer leaves a setting as it is."""
    answers = {}
    for key in ("repo", "worker"):
        answer = await ask(f"{known[key]}\n{key} [{settings.OFFLOAD.values[key]}]: ")
        if answer:
            answers[key] = answer
    return answers
