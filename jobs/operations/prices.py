"""What a worker costs and has cost, and what machine types cost. Always an estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.errors import NotFound
from jobs.models import Worker
from jobs.operations.simulation import start_for
from jobs.operations.workers import get_worker
from jobs.providers.gce.compute import naming, prices
from jobs.providers.gce.compute.template import read_spec
from jobs.workers.costs import Cost, cost_of
from jobs.workers.machines import cloud_of

BOOT_DISK_GB = 20


async def get_cost(name: str) -> tuple[Worker, Cost]:
    """Return a worker with what it costs and has cost. Raises `NotFound`, `Refused` for an added machine."""
    worker = await get_worker(name)
    await start_for(worker)
    cloud_of(worker, "Price")
    cost = await cost_of(worker)
    if cost is None:
        raise NotFound(f"The price of {name} is not in the table.", hint="See the console of your cloud.")
    return worker, cost


@dataclass(frozen=True)
class MachinePrice:
    """What a machine type costs in a region. Amounts in USD; None when the table does not have them.

    `compared_with`: the source that the price was compared with; `unconfirmed`: parts without a source.
    """

    machine_type: str
    region: str
    cpus: int | None
    memory_gib: float | None
    hour: float | None
    hour_spot: float | None
    month: float | None
    stopped_month: float | None
    as_of: str
    source: str
    compared_with: str | None
    unconfirmed: str | None
    currency: str = "USD"
    estimate: bool = True


def list_prices(types: Sequence[str], place: str, disk_gb: int) -> list[MachinePrice]:
    """Return what machine types cost in a zone or region; without `types`, what common ones cost."""
    region = naming.region_of(place) if naming.region_of(place) in prices.N2_HIGHMEM_16 else place
    return [_price_of(machine_type, region, disk_gb) for machine_type in types or prices.TABLE_TYPES]


def _price_of(machine_type: str, region: str, disk_gb: int) -> MachinePrice:
    spec = read_spec({"machine_type": machine_type, "data_disk_gb": disk_gb, "boot_disk_gb": BOOT_DISK_GB})
    disks = {spec.disk_type: disk_gb + BOOT_DISK_GB}
    usual = prices.estimate(machine_type, region, disks)
    spot = prices.estimate(machine_type, region, disks, spot=True)
    shape = prices.shape(machine_type)
    rate = prices.SERIES.get(spec.series)
    doubts = [one.source.partition(f"; {prices.UNCONFIRMED}: ")[2] for one in (usual, spot)]
    return MachinePrice(
        machine_type=machine_type,
        region=region,
        cpus=shape[0] if shape else None,
        memory_gib=shape[1] if shape else None,
        hour=usual.hours(1),
        hour_spot=spot.hours(1),
        month=usual.month,
        stopped_month=usual.disks_month,
        as_of=usual.as_of,
        source=usual.source,
        compared_with=rate.source if rate else None,
        unconfirmed=", ".join(dict.fromkeys(doubt for doubt in doubts if doubt)) or None,
    )
