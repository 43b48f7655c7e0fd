"""`manage.py fleet price`: what a worker costs, or a table of machine types. Always an estimate."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from jobs.cli.fleet import machines, plan
from jobs.cli.output import print_json
from jobs.errors import UsageError
from jobs.providers.gce.compute import naming, prices
from jobs.providers.gce.compute.template import read_spec

BOOT_DISK_GB = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what belongs to `price` alone."""
    parser.add_argument("name", nargs="?", help="the worker's name; without one: machine types")
    parser.add_argument("--machine-type", help="types to compare, with commas between (default: the usual)")
    parser.add_argument("--zones", help="zone or region (default: that of `provision`)")
    parser.add_argument("--disk-gb", type=int, default=200, help="size of the data disk (default 200)")


async def price(options: Mapping[str, Any]) -> int:
    """Say what a worker costs and has cost; without a name, what machine types cost in a region."""
    if options["name"]:
        if options["machine_type"] or options["zones"]:
            raise UsageError(
                "A worker's price is that of its own machine type and zone.",
                hint="Leave the name out to compare machine types.",
            )
        return await machines.price(options)
    region = _region(options["zones"])
    types = [one.strip() for one in (options["machine_type"] or "").split(",") if one.strip()]
    rows = [_row(kind, region, options["disk_gb"]) for kind in types or prices.TABLE_TYPES]
    if options["json"]:
        print_json("prices", rows)
        return 0
    print(f"{region}, US dollars (estimates, prices of {prices.AS_OF}; {prices.SOURCE})")
    print(f"With a boot disk of {BOOT_DISK_GB} GB, a data disk of {options['disk_gb']} GB and Cloud NAT.")
    head = ("machine type", "vCPU", "GiB", "hour", "hour, spot", "month", "month, stopped", "compared with")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        cells = [line[0].ljust(widths[0]), *(line[n].rjust(widths[n]) for n in range(1, 7)), line[7]]
        print("  ".join(cells).rstrip())
    return 0


def _region(text: str | None) -> str:
    first = (text or plan.ZONES).split(",")[0].strip()
    return naming.region_of(first) if naming.region_of(first) in prices.N2_HIGHMEM_16 else first


def _row(machine_type: str, region: str, disk_gb: int) -> dict[str, Any]:
    spec = read_spec({"machine_type": machine_type, "data_disk_gb": disk_gb, "boot_disk_gb": BOOT_DISK_GB})
    disks = {spec.disk_type: disk_gb + BOOT_DISK_GB}
    usual = prices.estimate(machine_type, region, disks)
    spot = prices.estimate(machine_type, region, disks, spot=True)
    hour, shape = usual.hours(1), prices.shape(machine_type)
    rate = prices.SERIES.get(spec.series)
    doubts = [one.source.partition(f"; {prices.UNCONFIRMED}: ")[2] for one in (usual, spot)]
    unconfirmed = ", ".join(dict.fromkeys(doubt for doubt in doubts if doubt))
    return {
        "machine_type": machine_type, "region": region, "cpus": shape[0] if shape else None,
        "memory_gib": shape[1] if shape else None, "currency": "USD",
        "hour": hour, "hour_spot": spot.hours(1),
        "month": usual.month, "stopped_month": usual.disks_month, "as_of": usual.as_of,
        "source": usual.source, "compared_with": rate.source if rate else None,
        "unconfirmed": unconfirmed or None, "estimate": True,
    }  # fmt: skip


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    def money(value: float | None, digits: int) -> str:
        return "?" if value is None else f"{value:.{digits}f}"

    source = row["compared_with"] or "not in the table"
    if row["unconfirmed"]:
        source += f"; {prices.UNCONFIRMED}: {row['unconfirmed']}"
    memory = "?" if row["memory_gib"] is None else f"{row['memory_gib']:g}"
    return (
        row["machine_type"], str(row["cpus"] or "?"), memory, money(row["hour"], 3),
        money(row["hour_spot"], 3), money(row["month"], 0), money(row["stopped_month"], 0), source,
    )  # fmt: skip
