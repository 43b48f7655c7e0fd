"""The service account of machines: whether there is one, whether it is needed, whether one may use it."""

from __future__ import annotations

from typing import Any

from jobs.errors import NotFound, OffloadError
from jobs.providers.base import Severity
from jobs.providers.gce.compute.errors import Forbidden
from jobs.providers.gce.compute.rest import NotAsked
from jobs.providers.gce.identity import roles
from jobs.providers.gce.identity.account import Account, attempt
from jobs.providers.gce.identity.service_accounts import (
    ACCOUNT_ID,
    READER_ROLE,
    USER_ROLE,
    email_of,
    may_read_images,
    registry_project,
)
from jobs.providers.gce.onboarding.observed import Seen, Wanted

SUBJECT = "identity"
PASS, WARN, FAIL = Severity.PASS, Severity.WARN, Severity.FAIL


async def about_identity(seen: Seen, wanted: Wanted, account: Account) -> None:
    """Look at the identity that machines are to have."""
    named = wanted.spec.service_account
    seen.identity = named or email_of(wanted.project)
    if not named:
        _about_none(seen, wanted)
        return
    if "@" not in named:
        text = f"{named!r} is no email of a service account."
        command = f"gcloud iam service-accounts list --project {wanted.project}"
        seen.add(FAIL, SUBJECT, text, "These are yours:", command)
        return
    found = await attempt(lambda: account.service_account(named))
    allowed = await attempt(lambda: account.may_act_as(named))
    if isinstance(found, NotAsked):
        seen.add(PASS, SUBJECT, "Not asked: an emulator has none.")
    elif isinstance(found, NotFound):
        _about_absent(seen, wanted)
    elif isinstance(found, dict) and found.get("disabled"):
        command = f"gcloud iam service-accounts enable {named} --project {wanted.project}"
        seen.add(FAIL, SUBJECT, f"{named} is disabled.", command=command)
    elif allowed is True:
        if not await _about_reading(seen, wanted, account):
            seen.add(PASS, SUBJECT, f"Machines are {named}, and you may use it.")
    elif allowed is False or isinstance(allowed, (Forbidden, NotFound)):
        _about_use(seen, wanted, found)
        await _about_reading(seen, wanted, account)
    else:
        error: OffloadError = found if isinstance(found, OffloadError) else allowed
        seen.add(WARN, SUBJECT, f"{named} cannot be looked at: {error.message}", error.hint)


def _about_none(seen: Seen, wanted: Wanted) -> None:
    where = registry_project(wanted.image)
    if not where:
        seen.add(PASS, SUBJECT, "Machines have no service account, and so no access to anything.")
        return
    text = f"Machines have no service account, and the image is in the Artifact Registry of {where}."
    seen.add(
        WARN,
        SUBJECT,
        text,
        "Unless everybody may read it, make one that may, and nothing else:",
        _create(wanted),
        "identity",
    )


def _about_absent(seen: Seen, wanted: Wanted) -> None:
    named = wanted.spec.service_account
    text = f"There is no service account {named}."
    if named == email_of(wanted.project):
        seen.add(FAIL, SUBJECT, text, command=_create(wanted), repair="identity")
        return
    command = f"gcloud iam service-accounts list --project {wanted.project}"
    seen.add(FAIL, SUBJECT, text, "Name another with --service-account, of:", command)


def _about_use(seen: Seen, wanted: Wanted, found: Any) -> None:
    named = wanted.spec.service_account
    text = f"You may not give machines the identity {named}"
    text += "." if isinstance(found, dict) else ", if there is one."
    command = (
        f"gcloud iam service-accounts add-iam-policy-binding {named} --project {wanted.project} "
        f"--member {roles.member(seen.email)} --role {USER_ROLE}"
    )
    repair = "act-as" if seen.may_grant and isinstance(found, dict) else ""
    seen.add(FAIL, SUBJECT, text, "" if repair else "Ask an owner of the project for:", command, repair)


async def _about_reading(seen: Seen, wanted: Wanted, account: Account) -> bool:
    """Say when Offload's own account was made and not let read the image yet; return whether that is so.

    Another account is its maker's business. Where the policy may not be read, nothing is known.
    """
    named = wanted.spec.service_account
    if named != email_of(wanted.project) or registry_project(wanted.image) != wanted.project:
        return False
    member = f"serviceAccount:{named}"
    policy = await attempt(account.policy)
    if not isinstance(policy, dict) or may_read_images(policy, member):
        return False
    text = f"{named} has no role in {wanted.project} that lets it read the image."
    command = (
        f"gcloud projects add-iam-policy-binding {wanted.project} --member {member} --role {READER_ROLE}"
    )
    seen.add(WARN, SUBJECT, text, "Unless the repository itself lets it:", command, "reader")
    return True


def _create(wanted: Wanted) -> str:
    return f"gcloud iam service-accounts create {ACCOUNT_ID} --project {wanted.project}"
