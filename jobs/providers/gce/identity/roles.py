"""Which permissions our calls need, and the roles that give them.

What each role holds: https://cloud.google.com/iam/docs/roles-permissions/compute. The table was
compared with copies of Google's definitions in https://github.com/iann0036/iam-dataset (`gcp/roles`), for the
network's role in https://github.com/darkbitio/gcp-iam-role-permissions. By now the role for machines holds
both logins, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Role:
    """A role, what it is for, and those of its permissions that we use."""

    name: str
    purpose: str
    permissions: tuple[str, ...]


MACHINES = Role(
    "roles/compute.instanceAdmin.v1",
    "make and run machines",
    (
        "compute.disks.create",
        "compute.disks.delete",
        "compute.disks.list",
        "compute.instances.create",
        "compute.instances.delete",
        "compute.instances.getGuestAttributes",
        "compute.instances.getSerialPortOutput",
        "compute.instances.list",
        "compute.instances.setLabels",
        "compute.instances.setMachineType",
        "compute.instances.setMetadata",
        "compute.instances.start",
        "compute.instances.stop",
        "compute.subnetworks.use",
    ),
)
NETWORK = Role(
    "roles/compute.networkAdmin",
    "make the network",
    ("compute.networks.create", "compute.routers.create", "compute.subnetworks.create"),
)
FIREWALL = Role(
    "roles/compute.securityAdmin",
    "make the firewall rule",
    ("compute.firewalls.create", "compute.firewalls.get", "compute.networks.updatePolicy"),
)
TUNNEL = Role(
    "roles/iap.tunnelResourceAccessor", "reach machines through IAP", ("iap.tunnelInstances.accessViaIAP",)
)
ADMIN = Role(
    "roles/compute.osAdminLogin",
    "run the container there (sudo)",
    ("compute.instances.osAdminLogin",),
)
GRANT = "resourcemanager.projects.setIamPolicy"


def needed(*, own_network: bool, tunnel: bool) -> Sequence[Role]:
    """Return the roles in the project for what is going to be done. The admin's login holds the plain one.

    That machines may be given their service account is asked of that account: see `identity_check`.
    """
    return [
        MACHINES,
        *([NETWORK] if own_network else []),
        FIREWALL,
        *([TUNNEL] if tunnel else []),
        ADMIN,
    ]


def member(email: str) -> str:
    """Return how a policy names an account."""
    kind = "serviceAccount" if email.endswith(".gserviceaccount.com") else "user"
    return f"{kind}:{email or 'EMAIL'}"


def command(project: str, email: str, role: Role) -> str:
    """Return the command that gives a role."""
    return f"gcloud projects add-iam-policy-binding {project} --member {member(email)} --role {role.name}"
