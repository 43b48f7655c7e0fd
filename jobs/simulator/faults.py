"""What can go wrong on purpose."""

from __future__ import annotations

import re
from dataclasses import dataclass

KINDS = {
    "rate": (429, "rateLimitExceeded", "Rate Limit Exceeded"),
    "unavailable": (503, "backendError", "The service is currently unavailable."),
    "broken": (500, "internalError", "Internal Error"),
    "permission": (403, "forbidden", "Required 'compute.instances.create' permission for '{path}'"),
    "disabled": (
        403,
        "accessNotConfigured",
        "Compute Engine API has not been used in project {project} before or it is disabled.",
    ),
    "billing": (403, "billingDisabled", "This API method requires billing to be enabled."),
    "quota": (403, "quotaExceeded", "Quota 'CPUS' exceeded.  Limit: 0.0 in region {project}."),
    "unauthenticated": (401, "authError", "Invalid Credentials"),
    "policy": (
        412,
        "conditionNotMet",
        "Constraint constraints/compute.vmExternalIpAccess violated for project {project}. Add instance "
        "{path} to the constraint to use external IP with it.",
    ),
}
# 403 with a body that is not of Google's form, as gateways and other services of Google's write it.
FORMS = {
    "detail": {"detail": "Not from this network."},
    "message": {"message": "Not from this network."},
    "oauth": {"error": "access_denied", "error_description": "Not from this network."},
}
# lost-request: cut before it is carried out. lost-answer: cut after. twice: carried out twice.
# lost-operation: carried out, and its operation is not to be found later. capacity: the operation fails.
# page: carried out, and the answer is a page for people, as proxies write.
OTHERS = ("lost-request", "lost-answer", "twice", "lost-operation", "capacity", "page")


@dataclass
class Fault:
    """One failure for the next `times` requests whose "METHOD path" `match` (a regex) is found in."""

    kind: str
    match: str = ""
    times: int = 1

    def __post_init__(self) -> None:
        known = [*KINDS, *FORMS, *OTHERS]
        if self.kind not in known:
            raise ValueError(f"There is no fault {self.kind!r}; known: {', '.join(known)}.")


def take(faults: list[Fault], request: str) -> str:
    """Return the kind of the first fault that is for this request, using it up, or an empty text."""
    for fault in faults:
        if fault.times > 0 and re.search(fault.match, request):
            fault.times -= 1
            return fault.kind
    return ""
