"""Errors in the shape of google.rpc.Status, as Google's services give them.

https://cloud.google.com/apis/design/errors
"""

from __future__ import annotations

from collections.abc import Mapping

from jobs.simulator.world import ApiError, Json

GCLOUDS_OWN = "764086051850"  # the project of the client that gcloud logs users in with
_TYPE = "type.googleapis.com/google.rpc."


class RpcError(ApiError):
    """A refusal with the status, and an ErrorInfo where there is a `reason`."""

    def __init__(
        self,
        status: int,
        name: str,
        message: str,
        reason: str = "",
        domain: str = "googleapis.com",
        metadata: Mapping[str, str] | None = None,
        details: tuple[Json, ...] = (),
    ) -> None:
        super().__init__(status, reason, message)
        self.name = name
        info = {
            "@type": f"{_TYPE}ErrorInfo",
            "reason": reason,
            "domain": domain,
            "metadata": dict(metadata or {}),
        }
        self.details = [*([info] if reason else []), *details]
        self.errors: list[Json] = []  # the older part, which Compute Engine gives too

    def body(self) -> Json:
        """Return the answer's body."""
        error: Json = {"code": self.status, "message": str(self), "status": self.name}
        if self.errors:
            error["errors"] = self.errors
        if self.details:
            error["details"] = self.details
        return {"error": error}


def api_disabled(service: str, title: str, number: str) -> RpcError:
    """Return what a service says in a project where it is off."""
    url = f"https://console.developers.google.com/apis/api/{service}/overview?project={number}"
    message = (
        f"{title} has not been used in project {number} before or it is disabled. Enable it by "
        f"visiting {url} then retry. If you enabled this API recently, wait a few minutes for the action to "
        "propagate to our systems and retry."
    )
    metadata = {
        "activationUrl": url,
        "consumer": f"projects/{number}",
        "containerInfo": number,
        "service": service,
        "serviceTitle": title,
    }
    help_ = {
        "@type": f"{_TYPE}Help",
        "links": [{"description": "Google developers console API activation", "url": url}],
    }
    localized = {"@type": f"{_TYPE}LocalizedMessage", "locale": "en-US", "message": message}
    error = RpcError(
        403,
        "PERMISSION_DENIED",
        message,
        "SERVICE_DISABLED",
        metadata=metadata,
        details=(localized, help_),
    )
    if service.startswith("compute."):
        more = "https://console.developers.google.com"
        error.errors = [
            {
                "message": message,
                "domain": "usageLimits",
                "reason": "accessNotConfigured",
                "extendedHelp": more,
            }
        ]
    return error


def quota_project_missing(service: str, title: str) -> RpcError:
    """Return what a service says to a user's credentials that name no project for its quota."""
    message = (
        f"Your application is authenticating by using local Application Default Credentials. The {service} "
        "API requires a quota project, which is not set by default. To learn how to set your quota project, "
        "see https://cloud.google.com/docs/authentication/adc-troubleshooting/user-creds ."
    )
    metadata = {"consumer": f"projects/{GCLOUDS_OWN}", "service": service, "serviceTitle": title}
    return RpcError(403, "PERMISSION_DENIED", message, "SERVICE_DISABLED", metadata=metadata)


def billing_missing(service: str, number: str) -> RpcError:
    """Return what Compute Engine says in a project without billing."""
    url = f"https://console.developers.google.com/billing/enable?project={number}"
    message = (
        f"This API method requires billing to be enabled. Please enable billing on project #{number} by "
        f"visiting {url} then retry. If you enabled billing for this project recently, wait a few minutes "
        "for the action to propagate to our systems and retry."
    )
    metadata = {"consumer": f"projects/{number}", "service": service}
    error = RpcError(403, "PERMISSION_DENIED", message, "BILLING_DISABLED", metadata=metadata)
    error.errors = [{"message": message, "domain": "global", "reason": "forbidden"}]
    return error


def permission_denied(permission: str, project: str) -> RpcError:
    """Return what Resource Manager says of what is not there, and of what one may not see: the same."""
    resource = f"projects/{project}"
    return RpcError(
        403,
        "PERMISSION_DENIED",
        f"Permission '{permission}' denied on resource '//cloudresourcemanager.googleapis.com/{resource}' "
        "(or it may not exist).",
        "IAM_PERMISSION_DENIED",
        "iam.googleapis.com",
        {"permission": permission, "resource": resource},
    )


def malformed(message: str) -> RpcError:
    """Return the refusal for a request that makes no sense."""
    return RpcError(400, "INVALID_ARGUMENT", message)
