"""The image that the machine pulls: a small Debian, and the static tmux of the real Dockerfile.

The real image is built and looked at by `tests/container/test_image.py`; to pull its gigabytes adds nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

from tests.support.cos.cloud import REGISTRY, Cloud
from tests.support.docker_engine import CACHE, base_archive, locked

_KIND = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
# Of the small Debian, what a job in the tests of the boot does not need.
_WITHOUT = (
    "./var/cache/", "./var/lib/", "./usr/share/", "./usr/lib/git-core/", "./usr/sbin/", "./usr/lib/apt/",
    "./usr/bin/perl", "./usr/bin/git", "./usr/bin/scalar", "./usr/bin/openssl",
    *(f"./usr/lib/x86_64-linux-gnu/{name}" for name in (
        "perl", "libperl", "gconv", "libapt", "libdb-", "libgnutls", "libp11", "libunistring", "libstdc++")),
)  # fmt: skip
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _debian_layer() -> bytes:
    """Return the small Debian without what takes room, as a layer; made at first use."""
    base = base_archive()
    key = hashlib.sha256(f"{base.stat().st_size} {base.stat().st_mtime_ns} {_WITHOUT}".encode()).hexdigest()[
        :16
    ]
    kept = CACHE / f"boot-layer-{key}.tar.gz"
    with locked(CACHE / "boot-layer.lock"):
        if not kept.exists():
            for old in CACHE.glob("boot-layer-*.tar.gz"):
                old.unlink()
            part = kept.with_suffix(".part")
            with tarfile.open(base) as whole, tarfile.open(part, "w:gz", compresslevel=1) as layer:
                for member in whole:
                    if not (member.name.startswith(_WITHOUT) or member.linkname.startswith(_WITHOUT)):
                        layer.addfile(member, whole.extractfile(member) if member.isreg() else None)
            part.rename(kept)
    return kept.read_bytes()


def _tmux_layer(archive: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(archive) as kept, tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as layer:
        for member in kept:
            member.name = "opt/offload/" + member.name.removeprefix("./")
            layer.addfile(member, kept.extractfile(member) if member.isreg() else None)
    return out.getvalue()


def publish(cloud: Cloud, tmux: Path) -> str:
    """Put the image into the cloud's registry; return its name by digest."""
    layers = [_debian_layer(), _tmux_layer(tmux)]
    config = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"User": "1000:1000", "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(gzip.decompress(layer)) for layer in layers]},
        }
    ).encode()

    def described(kind: str, data: bytes) -> dict[str, str | int]:
        cloud.blobs[_digest(data)] = (kind, data)
        return {"mediaType": kind, "size": len(data), "digest": _digest(data)}

    manifest = {"schemaVersion": 2, "mediaType": _KIND, "config": described(_CONFIG, config)}
    manifest["layers"] = [described(_LAYER, layer) for layer in layers]
    return f"{REGISTRY}/offload/maintainer@{described(_KIND, json.dumps(manifest).encode())['digest']}"
