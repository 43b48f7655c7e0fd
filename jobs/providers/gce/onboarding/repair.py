"""What `--apply` does about what `examine` saw. Each step can be repeated."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection

from jobs.errors import NotConfigured, OffloadError, TimedOut, UsageError
from jobs.providers.gce.compute.api import Api, endpoint_override
from jobs.providers.gce.compute.errors import ApiDisabled, Forbidden
from jobs.providers.gce.identity import gcloud, login_key, roles
from jobs.providers.gce.identity.account import Account
from jobs.providers.gce.identity.service_accounts import READER_ROLE, registry_project
from jobs.providers.gce.onboarding.observed import Seen, Wanted

Confirm = Callable[[str], Awaitable[bool]]
Say = Callable[[str], None]
SETTLE_SECONDS = 180.0  # "wait a few minutes for the action to propagate", says Google
SETTLE_PAUSE = 3.0


def repairable(seen: Seen) -> frozenset[str]:
    """Return what of what was seen `apply_repairs` has a step for."""
    return frozenset(one.repair for one in seen.problems if one.repair)


async def apply_repairs(
    wanted: Wanted, seen: Seen, say: Say, confirm: Confirm, skip: Collection[str] = ()
) -> bool:
    """Repair what can be repaired, without the steps to `skip`; return whether anything was done.

    What grants something is asked about by `confirm` first; the rest costs nothing and takes nothing away.
    What fails is told by `say`, with its remedy, and the next is tried.
    """
    account = Account(wanted.project)
    steps = {
        "apis": _apis,
        "quota-project": _quota_project,
        "ssh-key": _ssh_key,
        "login-key": _login_key,
        "roles": _roles,
        "identity": _identity,
        "reader": _reader,
        "act-as": _act_as,
    }
    todo = repairable(seen) - set(skip)
    if "ssh-key" in todo:
        todo |= {"login-key"}  # a new key is unknown there
    done = False
    try:
        for name, step in steps.items():
            if name in todo:
                try:
                    done |= await step(wanted, seen, account, say, confirm)
                except OffloadError as error:
                    say(str(error))
    finally:
        account.close()
    return done


async def _apis(wanted: Wanted, seen: Seen, account: Account, say: Say, confirm: Confirm) -> bool:
    names = ", ".join(one.removesuffix(".googleapis.com") for one in seen.apis)
    say(f"Turning on {names} ...")
    try:
        await account.enable(seen.apis)
    except ApiDisabled:
        # The API that turns on APIs is off; gcloud has a project of its own to ask from.
        await gcloud.run("services", "enable", *seen.apis, f"--project={wanted.project}")
    await until_compute_answers(wanted.project, say)
    return True


async def until_compute_answers(project: str, say: Say) -> None:
    """Wait until what was turned on is so everywhere at Google. Raises `TimedOut`."""
    compute = Api(project, endpoint_override())
    end = time.monotonic() + SETTLE_SECONDS
    told = False
    while True:
        try:
            await compute.call("projects", "get", f"Reading the project {project}")
            return
        except (ApiDisabled, Forbidden) as error:
            if time.monotonic() > end:
                raise TimedOut(
                    "The Compute Engine API is on, and does not answer yet.",
                    hint="Run the same command again in some minutes.",
                ) from error
        if not told:
            say("Waiting until Google knows it everywhere ...")
            told = True
        await asyncio.sleep(SETTLE_PAUSE)


async def _quota_project(wanted: Wanted, seen: Seen, account: Account, say: Say, confirm: Confirm) -> bool:
    say(f"Naming {wanted.project} in the application-default credentials ...")
    await gcloud.run("auth", "application-default", "set-quota-project", wanted.project)
    return True


async def _ssh_key(wanted: Wanted, seen: Seen, account: Account, say: Say, confirm: Confirm) -> bool:
    say(f"Making the ssh key {wanted.key or login_key.USUAL} ...")
    seen.key = await asyncio.to_thread(login_key.make, wanted.key)
    return True


async def _login_key(wanted: Wanted, seen: Seen, account: Account, say: Say, confirm: Confirm) -> bool:
    if seen.key is None or not seen.email:
        raise NotConfigured("The ssh key was not added to OS Login: there is none, or no account.")
    if seen.fingerprint:
        say("Renewing the key in OS Login ...")
        await account.renew_key(seen.email, seen.fingerprint)
    say(f"Adding the key to the OS Login profile of {seen.email} ...")
    profile = await account.add_key(seen.email, seen.key.public)
    seen.username = login_key.username(profile)
    return True


async def _roles(wanted: Wanted, seen: Seen, account: Account, say: Say, confirm: Confirm) -> bool:
    names = ", ".join(seen.roles)
    if not await confirm(f"Give {roles.member(seen.email)} in {wanted.project}: {names}?"):
        return False
    say(f"Giving {names} ...")
    await account.grant(roles.member(seen.email), seen.roles)
    return True


async def _identity(wanted: Wanted, seen: Seen, account: Account, say: Say, confirm: Confirm) -> bool:
    """Make the machines' service account; each part that is there already is left as it is."""
    registry = registry_project(wanted.image)
    role = READER_ROLE if registry == wanted.project else ""
    may = f"{role} in {wanted.project}" if role else "no role"
    if not await confirm(f"Make the service account {seen.identity}, with {may}?"):
        return False
    say(f"Making the service account {seen.identity} ...")
    await account.make_service_account()
    if role:
        say(f"Giving it {role} ...")
        await _grant_to_new(account, f"serviceAccount:{seen.identity}", role)
    elif registry:
        say(
            f"The image is in another project; let it be read there: gcloud projects add-iam-policy-binding "
            f"{registry} --member serviceAccount:{seen.identity} --role {READER_ROLE}"
        )
    if not await account.may_act_as(seen.identity):
        await account.let_act_as(seen.identity, roles.member(seen.email))
    seen.made_identity = True
    return True


async def _reader(wanted: Wanted, seen: Seen, account: Account, say: Say, confirm: Confirm) -> bool:
    """Let the machines' service account read the image: it was made, and this was not done any more."""
    if not await confirm(f"Give {seen.identity} in {wanted.project}: {READER_ROLE}?"):
        return False
    say(f"Giving {seen.identity} {READER_ROLE} ...")
    await _grant_to_new(account, f"serviceAccount:{seen.identity}", READER_ROLE)
    return True


async def _grant_to_new(account: Account, member: str, role: str) -> None:
    """Give a role to a service account that was just made, and is not known everywhere at Google."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            await account.grant(member, [role])
            return
        except UsageError as error:
            if "does not exist" not in error.message or time.monotonic() > end:
                raise
        await asyncio.sleep(SETTLE_PAUSE)


async def _act_as(wanted: Wanted, seen: Seen, account: Account, say: Say, confirm: Confirm) -> bool:
    member = roles.member(seen.email)
    if not await confirm(f"Let {member} give machines the identity {seen.identity}?"):
        return False
    say(f"Letting {member} use {seen.identity} ...")
    await account.let_act_as(seen.identity, member)
    return True
