"""What the simulated Google has to offer."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.providers.gce.compute.prices import shape

ZONES: Mapping[str, tuple[str, ...]] = {
    "us-central1": ("us-central1-a", "us-central1-b", "us-central1-c", "us-central1-f"),
    "us-east1": ("us-east1-b", "us-east1-c", "us-east1-d"),
    "europe-west1": ("europe-west1-b", "europe-west1-c", "europe-west1-d"),
}
ALL_ZONES = tuple(zone for zones in ZONES.values() for zone in zones)
MACHINE_TYPES: Mapping[str, tuple[int, float]] = {
    name: found
    for series in ("c3", "c4", "e2", "n2", "n2d", "n4")
    for kind in ("standard", "highmem", "highcpu")
    for cpus in (2, 4, 8, 16, 32)
    if (found := shape(name := f"{series}-{kind}-{cpus}"))
}
DISK_TYPES = ("pd-standard", "pd-balanced", "pd-ssd", "hyperdisk-balanced")
IMAGES: Mapping[str, str] = {"cos-stable": "cos-stable-125", "cos-arm64-stable": "cos-arm64-stable-125"}
LIMITS: Mapping[str, float] = {
    "CPUS": 72.0,
    "CPUS_ALL_REGIONS": 96.0,
    "IN_USE_ADDRESSES": 8.0,
    "N2_CPUS": 64.0,
    "PREEMPTIBLE_CPUS": 0.0,
    "SSD_TOTAL_GB": 2000.0,
}
GLOBAL = "CPUS_ALL_REGIONS"
