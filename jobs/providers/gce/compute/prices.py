"""What machines cost: an estimate from a dated table, never a bill.

US dollars before tax and discounts, of https://cloud.google.com/compute/vm-instance-pricing. Each line says
where it was compared: with the list of SKUs that the public project google-cloud-pricing-cost-calculator
generated from Google's billing catalogue on 2025-03-06 (`LIST`), or with an estimate of Google's own
calculator of 2023-05-18 (`CALCULATOR`). What could be compared with neither is `UNCONFIRMED`, and an
estimate that uses it says that word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

AS_OF = "2025-03-06"
SOURCE = "https://cloud.google.com/compute/vm-instance-pricing"
LIST = "list of SKUs, 2025-03-06"
CALCULATOR = "Google's calculator, 2023-05-18"
UNCONFIRMED = "unconfirmed"
HOURS_PER_MONTH = 730.0
HOME = "us-central1"


@dataclass(frozen=True)
class Rate:
    """Dollars per hour in `HOME` for one vCPU and for one GiB of memory; where they were compared."""

    cpu: float
    gib: float
    source: str


SERIES: Mapping[str, Rate] = {
    "c3": Rate(0.03465, 0.003938, LIST),  # c3-highmem-88 5.821552, c3-standard-8 0.403216
    "c4": Rate(0.03465, 0.003938, LIST),  # c4-highmem-2 0.12837, c4-highmem-16 1.042712
    "e2": Rate(0.02181159, 0.00292353, LIST),
    "n1": Rate(0.031611, 0.004237, CALCULATOR),  # n1-standard-8: 1664.39 for 4380 hours
    "n2": Rate(0.031611, 0.004237, LIST),
    "n2d": Rate(0.027502, 0.003686, LIST),  # n2d-standard-4 0.168984
    "n4": Rate(0.032578, 0.003702, LIST),  # n4-standard-16 0.758176, n4-highmem-80 4.97552
}
# Region -> dollars per hour of one type of a series, on demand and spot: the factors of that region.
# Without a table of its own, or without the region in it, a series has the factors of n2.
N2_HIGHMEM_16: Mapping[str, tuple[float, float]] = {
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
REGIONS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "n2": N2_HIGHMEM_16,
    "c3": {  # c3-standard-8
        "europe-west1": (0.44398112, 0.151424),
        "europe-west4": (0.4233768, 0.169328),
        "us-central1": (0.403216, 0.074176),
    },
    "c4": {  # c4-highmem-16
        "europe-west1": (1.148130288, 0.390296),
        "europe-west4": (1.0948476, 0.437913),
        "us-central1": (1.042712, 0.40776),
    },
    "n2d": {  # n2d-standard-4
        "europe-west1": (0.185892, 0.06216),
        "europe-west4": (0.18604, 0.037296),
        "us-central1": (0.168984, 0.033408),
    },
    "n4": {  # n4-standard-16
        "europe-west1": (0.834827648, 0.266016),
        "europe-west4": (0.7960848, 0.19568),
        "us-central1": (0.758176, 0.296512),
    },
}
# Disk type -> dollars per GiB and month in `HOME`, and where it was compared.
DISKS: Mapping[str, tuple[float, str]] = {
    # The capacity. 3000 IOPS and 140 MiB/s are free:
    # https://cloud.google.com/compute/docs/disks/hd-types/hyperdisk-balanced
    "hyperdisk-balanced": (0.08, UNCONFIRMED),
    "pd-balanced": (0.10, LIST),
    "pd-ssd": (0.17, LIST),
    "pd-standard": (0.04, LIST),
}
# Region -> dollars per GiB and month of pd-balanced: the factor of a region for disks.
PD_BALANCED: Mapping[str, float] = {
    "asia-east1": 0.10, "asia-northeast1": 0.13, "asia-south1": 0.12, "asia-southeast1": 0.11,
    "australia-southeast1": 0.135, "europe-central2": 0.13, "europe-north1": 0.11,
    "europe-southwest1": 0.12, "europe-west1": 0.10, "europe-west2": 0.12, "europe-west3": 0.12,
    "europe-west4": 0.11, "europe-west6": 0.13, "europe-west8": 0.116, "europe-west9": 0.116,
    "me-west1": 0.11, "northamerica-northeast1": 0.11, "southamerica-east1": 0.15, "us-central1": 0.10,
    "us-east1": 0.10, "us-east4": 0.11, "us-east5": 0.10, "us-south1": 0.12, "us-west1": 0.10,
    "us-west2": 0.12, "us-west3": 0.12, "us-west4": 0.11,
}  # fmt: skip
GIB_PER_CPU: Mapping[str, float] = {"standard": 4.0, "highmem": 8.0, "highcpu": 1.0}
_GIB_EXCEPTIONS: Mapping[tuple[str, str], float] = {
    ("n1", "standard"): 3.75,
    ("n1", "highmem"): 6.5,
    ("n1", "highcpu"): 0.9,
    ("c3", "highcpu"): 2.0,
    ("c4", "standard"): 3.75,
    ("c4", "highmem"): 7.75,
    ("c4", "highcpu"): 2.0,
    ("n4", "highcpu"): 2.0,
}
_GIB_OF_TYPE: Mapping[str, float] = {"c4-standard-2": 7.0, "c4-highmem-2": 15.0}
EXTERNAL_ADDRESS = 0.005  # dollars per hour on a running machine
EXTERNAL_ADDRESS_SPOT = 0.0025
# Dollars per hour: the gateway for each of up to 32 machines, and its address, as if for one machine alone.
# Traffic (0.045 a GiB) is extra. https://cloud.google.com/nat/pricing
NAT_GATEWAY = 0.0014
NAT_ADDRESS = 0.005
# What `fleet price` shows when no machine type is asked for.
TABLE_TYPES = tuple(
    f"{series}-{kind}"
    for series in ("e2", "n2", "n2d", "n4", "c3", "c4")
    for kind in ("standard-4", "standard-8", "standard-16", "highmem-8")
    if f"{series}-{kind}" != "c3-standard-16"  # there is none
)


@dataclass(frozen=True)
class Estimate:
    """US dollars. `machine_hour` while it runs; `disks_month` as long as the disks exist.

    `notes` says what is not exact: another series' factor, an unknown type (then `machine_hour` is None).
    `source` ends with what is unconfirmed, if anything is.
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
    return None if per_cpu is None else (cpus, _GIB_OF_TYPE.get(machine_type, cpus * per_cpu))


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
    unconfirmed = [kind for kind in disks if DISKS.get(kind, (0, UNCONFIRMED))[1] == UNCONFIRMED]
    if region not in N2_HIGHMEM_16:
        notes.append(f"{region} is not in the table; the prices are those of {HOME}.")
        unconfirmed.append(f"the prices of {region}")
        region = HOME
    series, known = machine_type.partition("-")[0], shape(machine_type)
    month = 0.0
    for kind, size in disks.items():
        if kind not in DISKS:
            notes.append(f"The price of {kind} is not in the table and not counted.")
        month += DISKS.get(kind, (0.0, ""))[0] * size * PD_BALANCED[region] / PD_BALANCED[HOME]
    if series not in SERIES or known is None:
        return Estimate(None, month, (*notes, f"{machine_type} is not in the table."))
    own = REGIONS.get(series, {})
    table = own if region in own else N2_HIGHMEM_16
    if table is not own and (spot or region != HOME):
        notes.append(f"The factors of {region} are those of series n2.")
        unconfirmed.append(f"{series} in {region}" + (", spot" if spot else ""))
    on_demand, spot_price = table[region]
    hour = (known[0] * SERIES[series].cpu + known[1] * SERIES[series].gib) * on_demand / table[HOME][0]
    if spot:
        hour *= spot_price / on_demand
        notes.append("Spot prices change every month.")
    if external_ip:
        hour += EXTERNAL_ADDRESS_SPOT if spot else EXTERNAL_ADDRESS
    elif nat:
        hour += NAT_GATEWAY + NAT_ADDRESS
    said = ", ".join(sorted(set(unconfirmed)))
    if said:
        notes.append(f"Not compared with a source: {said}.")
    return Estimate(hour, month, tuple(notes), source=f"{SOURCE}; {UNCONFIRMED}: {said}" if said else SOURCE)
