"""What the Compute API says no with, as our errors with a remedy. Knows nothing of Google's library.

Reasons and operation codes: https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-vm-creation
and https://cloud.google.com/compute/docs/resource-error. That Compute Engine says 403 of a spent quota and
of asking too often alike, where other services say 429: https://cloud.google.com/docs/quotas/troubleshoot.
The codes of operations are those that SkyPilot and gcpdiag look for; `..._STOCKOUT` is in Google's library.
"""

from __future__ import annotations

import re

from jobs.errors import (
    NoCapacity,
    NotConfigured,
    NotFound,
    OffloadError,
    QuotaExceeded,
    UsageError,
    WorkerUnavailable,
)

# Parts of codes: ZONE_ and REGION_ before, _WITH_DETAILS behind them.
EXHAUSTED = ("RESOURCE_POOL_EXHAUSTED", "STOCKOUT")
RETRIED_STATUS = (429, 500, 502, 503, 504)
RATE = (
    "ratelimitexceeded",
    "userratelimitexceeded",
    "rate_limit_exceeded",
    "resource_operation_rate_exceeded",
    "concurrent_operations_quota_exceeded",  # of operations at work, not of machines
)
QUOTA = ("quotaexceeded", "quota_exceeded")
BILLING = ("billingdisabled", "billing_disabled")


class AlreadyThere(UsageError):
    """Something of that name exists."""

    code = "already_exists"


class NotReady(WorkerUnavailable):
    """The resource is busy with an operation; the same call works when that is done."""

    code = "not_ready"


class ApiDisabled(NotConfigured):
    """An API is off in the project that pays for the request. `service`: its name."""

    def __init__(self, message: str, *, hint: str = "", service: str = "") -> None:
        super().__init__(message, hint=hint)
        self.service = service


class BillingOff(NotConfigured):
    """No open billing account is linked to the project."""


class Forbidden(NotConfigured):
    """The account lacks a permission; Google says the same of a project that does not exist."""


class PolicyViolated(NotConfigured):
    """A policy of the organisation forbids the request; it stays so until the policy is changed.

    `constraint`: the policy's name (`constraints/compute.vmExternalIpAccess`); empty when Google names none.
    """

    code = "organisation_policy"

    def __init__(self, message: str, *, hint: str = "", constraint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.constraint = constraint


# https://cloud.google.com/resource-manager/docs/organization-policy/org-policy-constraints; custom ones, too.
_CONSTRAINT = re.compile(
    r"\b(?:constraints/[a-z]+\.(?:managed\.)?\w+|customConstraints/custom\.\w+)", re.IGNORECASE
)
_POLICY = re.compile(r"constraint .* violated|organi[sz]ation policy|org policy|org policies", re.IGNORECASE)


def billing_link(project: str) -> str:
    """Return the page where a billing account is linked to a project."""
    return f"https://console.cloud.google.com/billing/linkedaccount?project={project}"


def enable_command(project: str, *services: str) -> str:
    """Return the command that turns APIs on."""
    return f"gcloud services enable {' '.join(services)} --project {project}"


def quota_link(project: str) -> str:
    """Return the page where a project's quotas are raised."""
    return f"https://console.cloud.google.com/iam-admin/quotas?project={project}"


def _is_policy(status: int, message: str) -> bool:
    """Return whether a policy forbids the request; 412 says of nothing else but an outdated fingerprint."""
    unmet = status == 412 and "fingerprint" not in message.lower()
    return unmet or bool(_CONSTRAINT.search(message) or _POLICY.search(message))


def _policy(said: str, project: str) -> PolicyViolated:
    """Return the error for what a policy of the organisation forbids."""
    found = _CONSTRAINT.search(said)
    constraint = found[0] if found else ""
    name = constraint.rpartition("/")[2]
    show = f"`gcloud org-policies describe {name or 'CONSTRAINT'} --effective --project {project}`"
    return PolicyViolated(
        said,
        hint=f"The organisation's policy {constraint or '(not named by Google)'} forbids it; trying again "
        "does not help. An account with roles/orgpolicy.policyAdmin on the organisation can change it "
        f"or exempt the project {project}. {show} shows it.",
        constraint=constraint,
    )


def is_rate_limit(status: int, reason: str) -> bool:
    """Return whether we asked too often (403 or 429, by the age of the API's part)."""
    return reason.lower() in RATE or (status == 429 and reason.lower() not in QUOTA)


def is_transient(status: int, reason: str) -> bool:
    """Return whether the same request is worth sending again at once."""
    return is_rate_limit(status, reason) or (status in RETRIED_STATUS and reason.lower() not in QUOTA)


def refused(
    doing: str, project: str, status: int, reason: str, message: str, service: str = "compute.googleapis.com"
) -> OffloadError:
    """Return the error for an answer of HTTP `status`. `doing`: "Making the machine x"; `service`: whose."""
    said = f"{doing} failed: {_text(message) or f'{service} answered {status}'}"
    said = said if said.endswith(".") else f"{said}."
    low = message.lower()
    kind = reason.lower()
    if is_rate_limit(status, reason):
        return WorkerUnavailable(said, hint="Google asks us to slow down. Try again in a minute.")
    if _is_policy(status, message):
        return _policy(said, project)
    if kind == "user_project_denied" or "requires a quota project" in low:
        return NotConfigured(
            f"{doing} failed: the credentials name no project that may be used for {service}.",
            hint=f"Name one: `gcloud auth application-default set-quota-project {project}` (it takes "
            "roles/serviceusage.serviceUsageConsumer there).",
        )
    if kind in ("accessnotconfigured", "service_disabled") or "it is disabled" in low:
        return ApiDisabled(
            f"{doing} failed: the API {service} is off in the project {project}.",
            hint=f"Turn it on: `{enable_command(project, service)}`.",
            service=service,
        )
    if kind in (*BILLING, "ureq_project_billing_not_found") or ("billing" in low and status in (400, 403)):
        return BillingOff(said, hint=f"Link a billing account to the project: {billing_link(project)}")
    if kind in QUOTA or low.startswith("quota ") or ("quota '" in low and status in (403, 429)):
        return QuotaExceeded(said, hint=f"Raise the quota at {quota_link(project)}.")
    if status == 401:
        return NotConfigured(said, hint="Log in again: `gcloud auth application-default login`.")
    if "unknown project" in low or re.search(r"'projects/[^/']+' (was|is) not found", low):
        return NotConfigured(said, hint="See `gcloud projects list`, and set the worker's `project`.")
    if status == 403 and service.startswith("iam."):
        return Forbidden(said, hint="It takes roles/iam.serviceAccountAdmin; ask the project's owner for it.")
    if status == 403:
        return Forbidden(
            said,
            hint="The account needs roles/compute.instanceAdmin.v1 (and roles/iam.serviceAccountUser for the "
            "machine's service account). Ask the project's owner, or see `manage.py offload setup`.",
        )
    return _about_names(said, low, kind, project, status)


def _text(message: str) -> str:
    """Return a message without the markup of a page for people, which some endpoints answer with."""
    if not re.match(r"\s*<", message):
        return message
    return " ".join(re.sub(r"(?s)<(style|script|head)\b.*?</\1>|<[^>]*>", " ", message).split())[:200]


def _about_names(said: str, low: str, kind: str, project: str, status: int) -> OffloadError:
    """Return the error for an answer about what was named in the request."""
    if "unknown zone" in low or re.search(r"/zones/[^/']+' (was|is) not found", low):
        return NotConfigured(said, hint=f"See `gcloud compute zones list --project {project}`.")
    if "unknown region" in low or re.search(r"/regions/[^/']+' (was|is) not found", low):
        return NotConfigured(said, hint=f"See `gcloud compute regions list --project {project}`.")
    if "machinetype" in low or "machine type" in low:
        return UsageError(
            said, hint="Not every zone has every type: `gcloud compute machine-types list --zones ZONE`."
        )
    if kind in ("resourcenotready", "resourceinusebyanotherresource"):
        return NotReady(said, hint="Another operation is still at work there. Try again in a minute.")
    if status == 404:
        return NotFound(said)
    if status == 409:
        return AlreadyThere(said, hint="Choose another name, or remove what is there.")
    if status == 400:
        return UsageError(said)
    return WorkerUnavailable(said, hint="The Compute API is in trouble. Try again in a minute.")


def ended_badly(doing: str, project: str, zone: str, code: str, message: str) -> OffloadError:
    """Return the error for an operation that was accepted and then failed with `code`."""
    said = f"{doing} failed: {message or code}"
    said = said if said.endswith(".") else f"{said}."
    if any(one in code for one in EXHAUSTED) or re.search(
        "stockout|not have enough resources", message.lower()
    ):
        return NoCapacity(
            f"{doing} failed: the zone {zone} has no such machine left now ({code}).",
            hint="Use another zone, another machine type, or on-demand instead of spot.",
        )
    if _is_policy(412 if code == "CONDITION_NOT_MET" else 0, message):
        return _policy(said, project)
    if code.lower() in RATE:
        return WorkerUnavailable(said, hint="Google asks us to slow down. Try again in a minute.")
    if code.startswith("QUOTA"):
        return QuotaExceeded(said, hint=f"Raise the quota at {quota_link(project)}.")
    if code == "RESOURCE_ALREADY_EXISTS":
        return AlreadyThere(said, hint="Choose another name, or remove what is there.")
    if code in ("RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", "RESOURCE_NOT_READY"):
        return NotReady(said, hint="Another operation is still at work there. Try again in a minute.")
    if code.startswith("PERMISSION"):
        return NotConfigured(said, hint="See `manage.py offload setup` for the roles that are needed.")
    return WorkerUnavailable(said, hint="See the machine's serial console: `manage.py fleet logs`.")
