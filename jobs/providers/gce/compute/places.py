"""Which of Google's regions is near: guessed from this machine's time zone, without a request."""

from __future__ import annotations

import math
import os
import re
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

HOME = (41.3, -95.9)  # us-central1, when nothing is known
# Region -> latitude and longitude of its town: https://cloud.google.com/compute/docs/regions-zones
REGIONS: Mapping[str, tuple[float, float]] = {
    "africa-south1": (-26.2, 28.0),
    "asia-east1": (24.1, 120.5),
    "asia-east2": (22.3, 114.2),
    "asia-northeast1": (35.7, 139.7),
    "asia-northeast2": (34.7, 135.5),
    "asia-northeast3": (37.6, 127.0),
    "asia-south1": (19.1, 72.9),
    "asia-south2": (28.6, 77.2),
    "asia-southeast1": (1.4, 103.8),
    "asia-southeast2": (-6.2, 106.8),
    "australia-southeast1": (-33.9, 151.2),
    "australia-southeast2": (-37.8, 145.0),
    "europe-central2": (52.2, 21.0),
    "europe-north1": (60.6, 27.2),
    "europe-north2": (59.3, 18.1),
    "europe-southwest1": (40.4, -3.7),
    "europe-west1": (50.5, 3.9),
    "europe-west10": (52.5, 13.4),
    "europe-west12": (45.1, 7.7),
    "europe-west2": (51.5, -0.1),
    "europe-west3": (50.1, 8.7),
    "europe-west4": (53.4, 6.8),
    "europe-west6": (47.4, 8.5),
    "europe-west8": (45.5, 9.2),
    "europe-west9": (48.9, 2.4),
    "me-central1": (25.3, 51.5),
    "me-central2": (26.4, 50.1),
    "me-west1": (32.1, 34.8),
    "northamerica-northeast1": (45.5, -73.6),
    "northamerica-northeast2": (43.7, -79.4),
    "northamerica-south1": (20.6, -100.4),
    "southamerica-east1": (-23.5, -46.6),
    "southamerica-west1": (-33.4, -70.7),
    "us-central1": HOME,
    "us-east1": (33.2, -80.0),
    "us-east4": (39.0, -77.5),
    "us-east5": (40.0, -83.0),
    "us-south1": (32.8, -96.8),
    "us-west1": (45.6, -121.2),
    "us-west2": (34.1, -118.2),
    "us-west3": (40.8, -111.9),
    "us-west4": (36.2, -115.1),
}


def by_distance(regions: Iterable[str], here: tuple[float, float] | None = None) -> Sequence[str]:
    """Return the regions, the nearest first; those that are not in the table come last."""
    here = here or position(local_time_zone()) or HOME
    return sorted(
        regions, key=lambda one: (_distance(here, REGIONS[one]) if one in REGIONS else math.inf, one)
    )


def _distance(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return the angle between two places (the haversine of it grows the same way)."""
    a, b, c, d = (math.radians(value) for value in (*one, *other))
    return math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2


def local_time_zone() -> str:
    """Return the name of this machine's time zone (`Europe/Berlin`), or an empty text.

    The variable TZ is Django's by now, so it is not asked.
    """
    return os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2]


def position(time_zone: str) -> tuple[float, float] | None:
    """Return latitude and longitude of a time zone's town, from the tz database's own table."""
    for folder in zoneinfo.TZPATH:
        for name in ("zone.tab", "zone1970.tab"):
            try:
                lines = Path(folder, name).read_text(encoding="utf-8").splitlines()
            except OSError:
                continue
            for line in lines:
                fields = line.split("\t")
                if not line.startswith("#") and len(fields) > 2 and fields[2] == time_zone:
                    return _degrees(fields[1])
    return None


def _degrees(text: str) -> tuple[float, float] | None:
    """Return the degrees in `+DDMM+DDDMM` or `+DDMMSS+DDDMMSS`."""
    found = re.fullmatch(r"([+-])(\d\d)(\d\d)(?:\d\d)?([+-])(\d\d\d)(\d\d)(?:\d\d)?", text)
    if found is None:
        return None
    sign, degrees, minutes, sign2, degrees2, minutes2 = found.groups()
    return (
        float(f"{sign}1") * (int(degrees) + int(minutes) / 60),
        float(f"{sign2}1") * (int(degrees2) + int(minutes2) / 60),
    )
