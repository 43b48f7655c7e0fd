"""The ssh key here, and what the account's OS Login profile knows of it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from jobs.errors import OffloadError
from jobs.providers.base import Severity
from jobs.providers.gce.compute.api import Json
from jobs.providers.gce.compute.errors import ApiDisabled
from jobs.providers.gce.compute.rest import NotAsked
from jobs.providers.gce.identity import login_key
from jobs.providers.gce.identity.account import Account, attempt
from jobs.providers.gce.onboarding.observed import Seen, Wanted

SOON = 7 * 86400.0  # a key that ends within a week is worth a word
PASS, WARN, FAIL = Severity.PASS, Severity.WARN, Severity.FAIL


async def about_key(seen: Seen, wanted: Wanted, account: Account) -> None:
    """Look at the ssh key here, and at the account's OS Login profile."""
    profile: Any = {}
    if seen.email:
        profile = await attempt(lambda: account.login_profile(seen.email))
    known = profile if isinstance(profile, dict) else {}
    seen.username = login_key.username(known)
    try:
        seen.key = await asyncio.to_thread(login_key.find, wanted.key, known)
    except OffloadError as error:
        seen.add(FAIL, "ssh key", error.message, command=login_key.command(wanted.key), repair="ssh-key")
        return
    if seen.key is None:
        text = "There is none for Google on this machine."
        seen.add(FAIL, "ssh key", text, command=login_key.command(), repair="ssh-key")
    else:
        await _about_passphrase(seen, seen.key)
    if isinstance(profile, NotAsked):
        seen.add(PASS, "OS Login", "Not asked: an emulator has none.")
    elif isinstance(profile, ApiDisabled):
        seen.add(WARN, "OS Login", "Not looked at: its API is off.")
    elif isinstance(profile, OffloadError):
        seen.add(WARN, "OS Login", f"It cannot be read: {profile.message}", profile.hint)
    elif not seen.email:
        seen.add(WARN, "OS Login", "Not looked at: whose account this is, is not known.",
                 command="gcloud compute os-login describe-profile")  # fmt: skip
    elif profile.get("suspended"):
        seen.add(FAIL, "OS Login", f"{seen.email} is suspended there.", "Ask your Workspace administrator.")
    else:
        _about_profile(seen, wanted.project, profile)


async def _about_passphrase(seen: Seen, key: login_key.LocalKey) -> None:
    why, command = await asyncio.to_thread(login_key.unusable, key.path)
    if why:
        remedy = "In the shell that starts Offload (also `serve`); or name another by --key."
        seen.add(FAIL, "ssh key", why, remedy, command)
    else:
        seen.add(PASS, "ssh key", f"{key.path}")


def _about_profile(seen: Seen, project: str, profile: Json) -> None:
    path = seen.key.path if seen.key else login_key.USUAL
    command = f"gcloud compute os-login ssh-keys add --key-file {path}.pub --project {project}"
    end = login_key.expiry(profile, seen.key.public) if seen.key else None
    renew = f"gcloud compute os-login ssh-keys update --key-file {path}.pub --ttl 0"
    if seen.key and end is not None and end - time.time() < SOON:
        seen.fingerprint = login_key.fingerprint(profile, seen.key.public)
    if end is None:
        text = f"Google does not know this key for {seen.email}."
        seen.add(FAIL, "OS Login", text, command=command, repair="login-key")
    elif login_key.has_expired(end):
        seen.add(FAIL, "OS Login", "The key has expired there.", command=renew, repair="login-key")
    elif not seen.username:
        text = f"{seen.email} has no user name in {project} yet."
        seen.add(FAIL, "OS Login", text, command=command, repair="login-key")
    elif end - time.time() < SOON:
        text = f"The key of {seen.username} ends on {time.strftime('%Y-%m-%d', time.gmtime(end))}."
        seen.add(WARN, "OS Login", text, command=renew, repair="login-key")
    else:
        seen.add(PASS, "OS Login", f"The key is known; you are {seen.username} on machines.")
