"""`offload fleet price [WORKER]`: what a worker costs and has cost, or what machine types cost. Estimates."""

from __future__ import annotations

from dataclasses import asdict

from jobs import operations
from jobs.cli.output import print_json
from jobs.cli.request import Request
from jobs.errors import UsageError
from jobs.formats import format_duration, format_money
from jobs.operations import BOOT_DISK_GB, MachinePrice
from jobs.providers.gce.compute import prices
from jobs.serializers import price_json, worker_json


async def run(request: Request) -> int:
    """Print the price of a worker, or a table of machine types."""
    if request.words:
        if request.machine_type or request.zones:
            raise UsageError(
                "The price of a worker is that of its own machine type and zone.",
                hint="Leave the worker out to compare machine types.",
            )
        return await _print_worker(request)
    types = [one.strip() for one in (request.machine_type or "").split(",") if one.strip()]
    place = (request.zones or operations.DEFAULT_ZONES[0]).split(",")[0].strip()
    rows = operations.list_prices(types, place, request.disk_gb)
    if request.json:
        print_json("prices", [asdict(row) for row in rows])
    else:
        _print_table(rows, request.disk_gb)
    return 0


async def _print_worker(request: Request) -> int:
    worker, cost = await operations.get_cost(request.words[0])
    if request.json:
        more = {"price": price_json(cost.price), "hours": cost.hours, "so_far": cost.so_far}
        print_json("worker", {**worker_json(worker, cost=cost), **more, "this_month": cost.month})
        return 0
    currency = cost.price.currency
    print(
        f"{worker.name}: {operations.describe_price(cost.price)}.\n"
        f"It has run for {format_duration(cost.hours * 3600)}: about {format_money(cost.so_far, currency)}, "
        f"disks included; {format_money(cost.month, currency)} this month.\n"
        f"Source: {cost.price.source}"
    )
    return 0


def _print_table(rows: list[MachinePrice], disk_gb: int) -> None:
    print(f"{rows[0].region}, US dollars (estimates, prices of {prices.AS_OF}; {prices.SOURCE})")
    print(f"With a boot disk of {BOOT_DISK_GB} GB, a data disk of {disk_gb} GB and Cloud NAT.")
    head = ("machine type", "vCPU", "GiB", "hour", "hour, spot", "month", "month, stopped", "compared with")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        cells = [line[0].ljust(widths[0]), *(line[n].rjust(widths[n]) for n in range(1, 7)), line[7]]
        print("  ".join(cells).rstrip())


def _cells(row: MachinePrice) -> tuple[str, ...]:
    def amount(value: float | None, digits: int) -> str:
        return "?" if value is None else f"{value:.{digits}f}"

    source = row.compared_with or "not in the table"
    if row.unconfirmed:
        source += f"; {prices.UNCONFIRMED}: {row.unconfirmed}"
    memory = "?" if row.memory_gib is None else f"{row.memory_gib:g}"
    return (
        row.machine_type, str(row.cpus or "?"), memory, amount(row.hour, 3), amount(row.hour_spot, 3),
        amount(row.month, 0), amount(row.stopped_month, 0), source,
    )  # fmt: skip
