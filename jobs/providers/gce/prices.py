"""What machines cost: an estimate from a dated table, never a bill.

US dollars before tax and discounts, of https://cloud.google.com/compute/vm-instance-pricing. The series in
`CHECKED`, the regions, spot, pd-ssd and the external address were compared with the list of SKUs that the
public project google-cloud-pricing-cost-calculator generated on 2025-03-06. The rest was not compared with
it, and an estimate that uses it says so. The factors of regions and spot are those of series N2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

AS_OF = "2025-03-06"
SOURCE = "https://cloud.google.com/compute/vm-instance-pricing"
HOURS_PER_MONTH = 730.0
HOME = "us-central1"

CHECKED = frozenset({"e2", "n2", "pd-ssd"})
# Series -> dollars per hour in us-central1 for one vCPU and for one GiB of memory.
SERIES: Mapping[str, tuple[float, float]] = {
    "c3": (0.03465, 0.003938),
    "c4": (0.03465, 0.003938),
    "e2": (0.02181159, 0.00292353),
    "n1": (0.031611, 0.004237),
    "n2": (0.031611, 0.004237),
    "n2d": (0.027502, 0.003686),
}
# Region -> dollars per hour of an n2-highmem-16, on demand and spot: the factor of a region.
REGIONS: Mapping[str, tuple[float, float]] = {
    "asia-east1": (1.2136, 0.246528),
    "asia-northeast1": (1.34352, 0.31984),
    "asia-south1": (1.258784, 0.293952),
    "asia-southeast1": (1.292912, 0.461696),
    "australia-southeast1": (1.487104, 0.373248),
    "europe-central2": (1.350304, 0.366816),
    "europe-north1": (1.153888, 0.33792),
    "europe-southwest1": (1.23677216, 0.216896),
    "europe-west1": (1.152976, 0.119008),
    "europe-west2": (1.350304, 0.183392),
    "europe-west3": (1.350304, 0.459168),
    "europe-west4": (1.153824, 0.322496),
    "europe-west6": (1.466192, 0.36512),
    "europe-west9": (1.21580992, 0.45792),
    "me-west1": (1.1529232, 0.422048),
    "northamerica-northeast1": (1.153824, 0.279872),
    "southamerica-east1": (1.66368, 0.40816),
    "us-central1": (1.048112, 0.323456),
    "us-east1": (1.048112, 0.323456),
    "us-east4": (1.180368, 0.350656),
    "us-east5": (1.048112, 0.262112),
    "us-south1": (1.23677216, 0.298432),
    "us-west1": (1.048112, 0.323456),
    "us-west2": (1.258912, 0.28992),
    "us-west3": (1.258912, 0.409152),
    "us-west4": (1.180336, 0.471936),
}
# Disk type -> dollars per GiB and month in us-central1 (hyperdisk: capacity; its baseline speed is free).
DISKS: Mapping[str, float] = {
    "hyperdisk-balanced": 0.08,
    "pd-balanced": 0.10,
    "pd-ssd": 0.17,
    "pd-standard": 0.04,
}
GIB_PER_CPU: Mapping[str, float] = {"standard": 4.0, "highmem": 8.0, "highcpu": 1.0}
_GIB_EXCEPTIONS: Mapping[tuple[str, str], float] = {
    ("n1", "standard"): 3.75,
    ("n1", "highmem"): 6.5,
    ("n1", "highcpu"): 0.9,
    ("c3", "highcpu"): 2.0,
    ("c4", "standard"): 3.75,
    ("c4", "highmem"): 7.75,
    ("c4", "highcpu"): 2.0,
}
EXTERNAL_ADDRESS = 0.005  # dollars per hour on a running machine
EXTERNAL_ADDRESS_SPOT = 0.0025
NAT_GATEWAY = 0.0014  # dollars per hour and machine, up to 32 machines; traffic is extra


@dataclass(frozen=True)
class Estimate:
    """US dollars. `machine_hour` while it runs; `disks_month` as long as the disks exist.

    `notes` says what is not exact: another region's factor, an unknown type (then `machine_hour` is None).
    """

    machine_hour: float | None
    disks_month: float
    notes: tuple[str, ...] = ()
    as_of: str = AS_OF
    source: str = SOURCE

    @property
    def month(self) -> float | None:
        """A month of running without a pause, disks included."""
        if self.machine_hour is None:
            return None
        return self.machine_hour * HOURS_PER_MONTH + self.disks_month

    def hours(self, running: float) -> float | None:
        """What `running` hours cost, with the disks' share of that time."""
        if self.machine_hour is None:
            return None
        return running * (self.machine_hour + self.disks_month / HOURS_PER_MONTH)


def shape(machine_type: str) -> tuple[int, float] | None:
    """Return the vCPUs and GiB of a predefined machine type (`n2-standard-8`), or None when unknown."""
    parts = machine_type.split("-")
    if len(parts) != 3 or not parts[2].isdigit():
        return None
    series, kind, cpus = parts[0], parts[1], int(parts[2])
    per_cpu = _GIB_EXCEPTIONS.get((series, kind), GIB_PER_CPU.get(kind))
    return None if per_cpu is None else (cpus, cpus * per_cpu)


def estimate(
    machine_type: str,
    region: str,
    disks: Mapping[str, int],
    *,
    spot: bool = False,
    external_ip: bool = False,
    nat: bool = True,
) -> Estimate:
    """Return what a machine costs. `disks`: GiB per disk type, boot disk included."""
    notes = [f"Estimate from the price list of {AS_OF}."]
    if region not in REGIONS:
        notes.append(f"{region} is not in the table; the prices are those of {HOME}.")
    on_demand, spot_price = REGIONS.get(region, REGIONS[HOME])
    factor = on_demand / REGIONS[HOME][0]
    month = 0.0
    for kind, size in disks.items():
        if kind not in DISKS:
            notes.append(f"The price of {kind} is not in the table and not counted.")
        month += DISKS.get(kind, 0.0) * size * factor
    series, known = machine_type.partition("-")[0], shape(machine_type)
    if series not in SERIES or known is None:
        return Estimate(None, month, (*notes, f"{machine_type} is not in the table."))
    if unchecked := sorted({series, *disks} - CHECKED):
        notes.append(f"Not compared with the list of that date: {', '.join(unchecked)}.")
    hour = (known[0] * SERIES[series][0] + known[1] * SERIES[series][1]) * factor
    if spot:
        hour *= spot_price / on_demand
        notes.append("Spot prices change every month.")
    if external_ip:
        hour += EXTERNAL_ADDRESS_SPOT if spot else EXTERNAL_ADDRESS
    elif nat:
        hour += NAT_GATEWAY
    return Estimate(hour, month, tuple(notes))
