"""`offload fleet sweep`: find machines and disks that belong to no worker; --yes removes them."""

from __future__ import annotations

from collections.abc import Sequence

from jobs import operations
from jobs.cli.fleet.steps import account_of, print_steps
from jobs.cli.output import print_json, say
from jobs.cli.request import Request
from jobs.providers.base import Resource


async def run(request: Request) -> int:
    """Find them, and remove them with --yes."""
    wanted = operations.SweepRequest(
        remove=request.yes,
        other_homes=request.other_homes,
        with_disks=request.with_disks,
        account=account_of(request),
    )
    found = await operations.sweep_resources(wanted, print_steps(request))
    if request.json:
        lists = {"orphans": found.orphans, "disks": found.disks, "other_homes": found.elsewhere}
        shown = {key: [str(one) for one in resources] for key, resources in lists.items()}
        print_json("swept", {**shown, "gone": found.gone, "failed": found.failed, "removed": request.yes})
        return 1 if found.failed else 0
    print_lines("removed" if request.yes else "orphan", found.orphans)
    print_lines("data disk of no worker", [_describe_disk(one) for one in found.disks])
    print_lines("of another home", [_describe_disk(one) for one in found.elsewhere])
    print_lines("machine does not exist", found.gone)
    print_lines("failed", found.failed)
    if found.disks:
        say("Data disks stay: `offload fleet provision NAME` uses one again; --with-disks removes them.")
    if found.elsewhere:
        say("These belong to another Offload home, or do not name their home: they stay.")
        say("`offload fleet provision NAME` takes a machine or disk over; --other-homes removes them.")
    if found.orphans and not request.yes:
        say("Nothing was removed; --yes removes the orphans.")
    if not (found.orphans or found.disks or found.elsewhere or found.gone or found.failed):
        print("Nothing to sweep.")
    return 1 if found.failed else 0


def print_lines(title: str, items: Sequence[Resource | str]) -> None:
    """Print one line per item."""
    for item in items:
        print(f"{title}: {item}")


def _describe_disk(disk: Resource) -> str:
    price = f", about {disk.month:.2f} USD a month" if disk.month is not None else ""
    return f"{disk} ({disk.detail}{price})" if disk.detail else str(disk)
