"""Everything that has to be right before the first machine: one line per subject, with its remedy.

Nothing is changed here (see `repair`), and nothing is asked of the user. What cannot be looked at because
something before it is missing is said to be so, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from jobs.errors import OffloadError
from jobs.providers.base import Severity
from jobs.providers.gce.compute import endpoints
from jobs.providers.gce.compute.api import Api, Json, endpoint_override
from jobs.providers.gce.compute.errors import ApiDisabled, BillingOff, Forbidden, billing_link, enable_command
from jobs.providers.gce.compute.rest import NotAsked
from jobs.providers.gce.identity import account_check, credentials, gcloud, login_key_check, roles
from jobs.providers.gce.identity.account import Account, attempt
from jobs.providers.gce.onboarding import place_check
from jobs.providers.gce.onboarding.observed import Seen, Wanted

NEEDED = ("compute.googleapis.com", "oslogin.googleapis.com", "serviceusage.googleapis.com")
TUNNEL = "iap.googleapis.com"
OPTIONAL = {
    "artifactregistry.googleapis.com": "to keep the container's image",
    "cloudbuild.googleapis.com": "to build it there",
    "cloudresourcemanager.googleapis.com": "to tell what you may do",
    "iam.googleapis.com": "to look at the machines' service account",
}
PASS, WARN, FAIL = Severity.PASS, Severity.WARN, Severity.FAIL


async def examine(wanted: Wanted) -> Seen:
    """Look at everything. Errors of Google's become lines; only a wrong endpoint variable is raised."""
    seen = Seen()
    local = endpoints.is_local(endpoint_override())
    program, refused = await asyncio.gather(gcloud.look(), _credentials(local))
    _about_gcloud(seen, program, tunnel=wanted.settings.strategies == ("iap",))
    if refused is not None:
        seen.add(FAIL, "credentials", refused.message, refused.hint)
        return seen
    if not wanted.project:
        command = "gcloud projects list"
        seen.add(FAIL, "project", "No project was named.", "Name it with --project.", command)
        return seen
    account = Account(wanted.project)
    try:
        await _about_project(seen, wanted, account, program, local=local)
    finally:
        account.close()
    return seen


async def _credentials(local: bool) -> OffloadError | None:
    """Return why the credentials cannot be used, or None."""
    if local:
        return None
    try:
        await asyncio.to_thread(credentials.require_usable)
    except OffloadError as error:
        return error
    return None


def _about_gcloud(seen: Seen, program: gcloud.Gcloud | None, *, tunnel: bool) -> None:
    severity = FAIL if tunnel else WARN
    why = "it carries ssh through the identity-aware proxy" if tunnel else "it logs you in"
    if program is None:
        seen.add(
            severity, "gcloud", f"It is not on the PATH, and {why}.", f"Install it: {credentials.INSTALL}"
        )
    elif program.error:
        seen.add(severity, "gcloud", program.error, f"Repair it, or install it again: {credentials.INSTALL}")
    elif not program.account or program.account not in program.accounts:
        seen.add(severity, "gcloud", "It is logged in to no account.", command="gcloud auth login")
    else:
        seen.add(PASS, "gcloud", f"It works as {program.account}.")


async def _about_project(
    seen: Seen, wanted: Wanted, account: Account, program: gcloud.Gcloud | None, *, local: bool
) -> None:
    compute = Api(wanted.project, endpoint_override())
    own, tunnel = wanted.settings.own_network, "iap" in wanted.settings.strategies
    needed = roles.needed(own_network=own, tunnel=tunnel)
    apis = [*NEEDED, *([TUNNEL] if tunnel else []), *OPTIONAL]
    permissions = {one for role in needed for one in role.permissions} | {roles.GRANT}

    async def read() -> Json:
        return await compute.call("projects", "get", f"Reading the project {wanted.project}")

    email, project, described, services, billing, allowed = await asyncio.gather(
        attempt(account.email),
        attempt(read),
        attempt(account.describe),
        attempt(lambda: account.services(apis)),
        attempt(account.billing),
        attempt(lambda: account.permissions(permissions)),
    )
    seen.email = email if isinstance(email, str) else ""
    _about_credentials(seen, wanted.project, program, local=local)
    if not _about_existence(seen, wanted.project, described, project):
        return
    _about_billing(seen, wanted.project, billing, project)
    _about_apis(seen, wanted.project, services, project, apis)
    _about_roles(seen, wanted.project, allowed, needed)
    await account_check.about_identity(seen, wanted, account)
    seen.problems += place_check.ways(wanted.settings, wanted.source)
    await login_key_check.about_key(seen, wanted, account)
    if isinstance(project, OffloadError):
        if not isinstance(project, (ApiDisabled, BillingOff)):
            seen.problems.append(place_check.failed("Compute Engine", project))
        why = "Not looked at: Compute Engine does not answer for this project yet."
        seen.add(WARN, "zone, quota", why)
        return
    seen.problems += await place_check.place(compute, wanted.settings, wanted.spec, project)


def _about_credentials(seen: Seen, project: str, program: gcloud.Gcloud | None, *, local: bool) -> None:
    active = program.account if program is not None else ""
    who = seen.email or "an account that does not say its name"
    if local:
        seen.add(PASS, "credentials", f"None are needed: the Compute API is on this machine ({who}).")
        seen.email = seen.email or active
        return
    found = credentials.found()
    seen.email = seen.email or found.email or active
    who = seen.email or f"{found.kind} of {found.source}"
    if found.kind == "a user" and not found.quota_project:
        text = f"They are those of {who}, and name no project for requests that belong to none."
        command = f"gcloud auth application-default set-quota-project {project}"
        seen.add(WARN, "credentials", text, command=command, repair="quota-project")
    elif active and seen.email and active != seen.email:
        text = f"They are those of {seen.email}, and gcloud (the tunnel) works as {active}."
        command = f"gcloud config set account {seen.email}"
        seen.add(WARN, "credentials", text, "Use one account for both, unless this is meant.", command)
    else:
        quota = f", quota project {found.quota_project}" if found.quota_project else ""
        seen.add(PASS, "credentials", f"They are those of {who}{quota}.")


def _about_existence(seen: Seen, project: str, described: Any, compute: Any) -> bool:
    """Say whether the project is there; return whether to go on."""
    if isinstance(described, dict):
        if described.get("state", "ACTIVE") == "ACTIVE":
            number = str(described.get("name", "")).rpartition("/")[2]
            seen.add(PASS, "project", f"{project} is active" + (f" (number {number})." if number else "."))
            return True
        text = f"{project} is about to be deleted ({described.get('state')})."
        seen.add(FAIL, "project", text, command=f"gcloud projects undelete {project}")
        return False
    if isinstance(compute, dict):
        seen.add(PASS, "project", f"{project} can be read.")
        return True
    lost = (described, compute)
    if any(isinstance(one, (ApiDisabled, BillingOff)) for one in lost) and not isinstance(
        described, Forbidden
    ):
        # Google refuses for the project's sake, so there is one.
        seen.add(PASS, "project", f"{project} is there.")
        return True
    error = compute if isinstance(described, NotAsked) else described
    if not isinstance(error, Forbidden) and "gcloud projects list" not in error.hint:
        seen.problems.append(place_check.failed("project", error))
        return False
    who = seen.email or "this account"
    text = f"There is no project {project}, or {who} may not see it."
    seen.add(FAIL, "project", text, "These are yours:", "gcloud projects list")
    return False


def _about_billing(seen: Seen, project: str, billing: Any, compute: Any) -> None:
    command = f"gcloud billing projects link {project} --billing-account ACCOUNT"
    remedy = f"Choose one of `gcloud billing accounts list`, or make one at {billing_link(project)}"
    if isinstance(billing, dict) and not billing.get("billingEnabled"):
        name = str(billing.get("billingAccountName") or "")
        text = f"{name} is linked, and is closed." if name else "No billing account is linked."
        seen.add(FAIL, "billing", text, remedy, command)
    elif isinstance(billing, dict):
        seen.add(PASS, "billing", f"{billing.get('billingAccountName') or 'An account'} pays.")
    elif isinstance(compute, BillingOff) or isinstance(billing, BillingOff):
        seen.add(FAIL, "billing", "No open billing account is linked.", remedy, command)
    elif isinstance(compute, dict):
        seen.add(PASS, "billing", "It is on: Compute Engine answers.")
    else:
        text = "Whether billing is on cannot be read."
        seen.add(WARN, "billing", text, f"Look at {billing_link(project)}")


def _about_apis(seen: Seen, project: str, services: Any, compute: Any, apis: Sequence[str]) -> None:
    if isinstance(services, dict):
        seen.apis = [one for one in apis if not services.get(one)]
        off = [one for one in seen.apis if one not in OPTIONAL]
    elif isinstance(services, ApiDisabled):
        seen.apis = ["serviceusage.googleapis.com", *(one for one in apis if "serviceusage" not in one)]
        off = [services.service]
    elif isinstance(compute, ApiDisabled):
        seen.apis = off = [compute.service]
    elif isinstance(services, NotAsked):
        seen.add(PASS, "APIs", "Compute Engine answers; the others were not asked (an emulator).")
        return
    else:
        seen.add(WARN, "APIs", f"It cannot be read which are on: {services.message}", services.hint)
        return
    if off:
        names = _short(off)
        command = enable_command(project, *seen.apis)
        seen.add(FAIL, "APIs", f"Off, and needed: {names}.", command=command, repair="apis")
    elif seen.apis:
        why = ", ".join(f"{_short([one])} ({OPTIONAL[one]})" for one in seen.apis)
        command = enable_command(project, *seen.apis)
        seen.add(WARN, "APIs", f"Off, and useful: {why}.", command=command, repair="apis")
    else:
        seen.add(PASS, "APIs", f"On: {_short(apis)}.")


def _short(names: Sequence[str]) -> str:
    return ", ".join(name.removesuffix(".googleapis.com") for name in names)


def _about_roles(seen: Seen, project: str, allowed: Any, needed: Sequence[roles.Role]) -> None:
    if isinstance(allowed, NotAsked):
        seen.add(PASS, "roles", "Not asked: an emulator gives none.")
        return
    if isinstance(allowed, OffloadError):
        seen.add(WARN, "roles", f"It cannot be read what you may do: {allowed.message}", allowed.hint)
        return
    seen.may_grant = roles.GRANT in allowed
    for role in needed:
        missing = [one for one in role.permissions if one not in allowed]
        if missing:
            seen.roles.append(role.name)
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            text = f"To {role.purpose} you lack {missing[0]}{more}."
            who = "" if seen.may_grant else "Ask an owner of the project for:"
            seen.add(FAIL, "roles", text, who, roles.command(project, seen.email, role),
                     "roles" if seen.may_grant else "")  # fmt: skip
    if not seen.roles:
        seen.add(PASS, "roles", "You may do everything that is needed.")
