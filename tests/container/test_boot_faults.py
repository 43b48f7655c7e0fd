"""A boot that goes wrong, or is killed: said clearly, nothing destroyed, and the next one ends well.

On a disk and with a container of its own, apart from the machine's, which stay as they are.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jobs.workers import cloud_init
from jobs.workers.container.spec import ContainerSpec, faults
from tests.support.cos.box import STEPS, Box
from tests.support.cos.cloud import METADATA
from tests.support.cos.disk import Disk

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]

SIZE = 64 * 2**20
OTHER = "/dev/disk/by-id/google-other"


class Other:
    """A boot with another disk. `disk` is blank; `run` boots, once or again."""

    def __init__(self, box: Box, disk: Disk) -> None:
        self.box, self.machine, self.disk = box, box.machine, disk
        self.spec: ContainerSpec | None = None
        self.said = ""

    def script(self, **changes: Any) -> str:
        """Return the boot script."""
        settings = {
            "disk": OTHER, "mount": "/mnt/disks/other", "links": ["/var/lib/other"], "disk_seconds": 1,
            "boot_file": "/run/other/boot.json", "engine_seconds": 1, "pull_tries": 1, **changes,
        }  # fmt: skip
        container = {"name": "other-worker", "image": settings.pop("image", self.box.image)}
        container |= settings.pop("container", {})
        config = self.box.configured({"boot": settings, "user": settings.pop("user", "")}, container)
        made = cloud_init.of_worker("other", "/mnt/disks/other", config)
        self.spec = made.spec
        return cloud_init.render(made, cloud_init.SCRIPT)

    def start(self) -> str:
        """Run the boot script to its end; return what it wrote."""
        return self.machine.run("bash", "-s", input=self.script())

    def run(self, code: int = 0, **changes: Any) -> dict[str, Any]:
        """Run the boot script; return what the boot file says. It was published, and on the console."""
        published = len(self.machine.cloud.attributes)
        self.said = self.machine.run("bash", "-s", input=self.script(**changes), code=code)
        said = self.machine.boot_file("/run/other/boot.json")
        if code != -9:
            assert len(self.machine.cloud.attributes) > published
            assert self.machine.cloud.reports()[-1] == said
            self.machine.until_said(f"offload: {said['state']}: {said['step']}")
        return said

    def clean(self) -> None:
        """Leave nothing of it on the machine."""
        self.machine.sh(
            "docker rm --force other-worker > /dev/null 2>&1;"
            "! mountpoint -q /mnt/disks/other || umount /mnt/disks/other;"
            f"rm -rf /run/other /var/lib/other {OTHER}"
        )


@pytest.fixture
def other(box: Box, tmp_path: Path) -> Iterator[Other]:
    disk = Disk(tmp_path / "other.img", SIZE)
    made = Other(box, disk)
    box.machine.attach_disk(disk, OTHER)
    try:
        yield made
    finally:
        for program in ("docker", "iptables", "mkfs.ext4", "mv"):
            box.machine.fault(program)
        made.clean()
        disk.close()


PRECIOUS = b"the only copy" * 1000


def _write(disk: Disk, at: int, data: bytes) -> None:
    with open(disk.device, "r+b") as file:
        file.seek(at)
        file.write(data)


def _filesystem(*command: str) -> Callable[[Disk], None]:
    def make(disk: Disk) -> None:
        subprocess.run([*command, disk.device], check=True, capture_output=True)

    return make


def _partitions(disk: Disk) -> None:
    entry = bytes([0, 0, 2, 0, 0x83, 0, 2, 0]) + (2048).to_bytes(4, "little") + (65536).to_bytes(4, "little")
    _write(disk, 446, entry)
    _write(disk, 510, b"\x55\xaa")


FOREIGN: dict[str, tuple[Callable[[Disk], None], str]] = {
    "another file system": (_filesystem("mke2fs", "-q", "-t", "ext3"), "holds ext3 and not ext4"),
    "swap": (_filesystem("mkswap"), "holds swap and not ext4"),
    "partitions": (_partitions, "holds a partition table and not ext4"),
    "garbage": (lambda disk: _write(disk, 4096, PRECIOUS), "is not blank and holds no file system"),
    "garbage far inside": (
        lambda disk: _write(disk, 33 * 2**20, PRECIOUS),
        "is not blank and holds no file system",
    ),
    "garbage at the end": (
        lambda disk: _write(disk, SIZE - 20000, PRECIOUS),
        "is not blank and holds no",
    ),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_disk_with_something_else_is_left_as_it_is(other: Other, what: str) -> None:
    put, said = FOREIGN[what]
    put(other.disk)
    before = _digest(other.disk)
    found = other.run(code=1)
    assert (found["state"], found["step"]) == ("failed", "data disk")
    assert found["error"].startswith(f"the data disk {said}")
    assert found["error"].endswith("; it is left as it is")
    assert _digest(other.disk) == before
    assert (
        other.machine.run("mountpoint", "/mnt/disks/other", code=None)
        .strip()
        .endswith(("not a mountpoint", "No such file or directory"))
    )
    assert other.machine.run("docker", "inspect", "other-worker", code=1)


def _digest(disk: Disk) -> str:
    with open(disk.device, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_a_damaged_disk_is_left_to_a_person(other: Other) -> None:
    machine = other.machine
    _filesystem("mkfs.ext4", "-q", "-b", "1024")(other.disk)
    there = "mkdir -p $0; mount -t ext4 $DISK $0 && cat > $0/file && umount $0"
    put = ["bash", "-c", there, "/mnt/disks/other"]
    machine.run(*put, input=PRECIOUS.decode(), env={"DISK": other.disk.device})
    assert PRECIOUS in other.disk.file.read_bytes()
    _write(other.disk, 2048, b"\xff" * 40960)
    found = other.run(code=1)
    assert (found["state"], found["step"]) == ("failed", "data disk")
    assert found["error"].startswith("the data disk is damaged (e2fsck: ")
    assert PRECIOUS in other.disk.file.read_bytes()


def test_a_file_system_that_was_not_unmounted_is_mended(other: Other) -> None:
    other.run()
    machine = other.machine
    machine.sh("echo kept > /mnt/disks/other/jobs/kept; sync; docker rm --force other-worker")
    # As after a power cut: the bytes as they are now, with a journal to be played back.
    image = other.disk.file.read_bytes()
    machine.sh("umount /mnt/disks/other")
    _write(other.disk, 0, image)
    assert other.run()["state"] == "ready"
    assert machine.sh("cat /mnt/disks/other/jobs/kept") == "kept\n"


def test_a_disk_that_never_appears(other: Other) -> None:
    found = other.run(code=1, disk="/dev/disk/by-id/google-none")
    assert found["step"] == "data disk"
    assert found["error"] == "/dev/disk/by-id/google-none did not appear within 1 s"


def test_something_else_where_the_disk_goes(other: Other) -> None:
    other.machine.sh("mkdir -p /mnt/disks/other; mount -t tmpfs none /mnt/disks/other")
    assert other.run(code=1)["error"] == "/mnt/disks/other holds none and not the data disk"
    other.machine.sh("umount /mnt/disks/other; mkdir -p /var/lib/other; echo > /var/lib/other/x")
    found = other.run(code=1)
    assert (found["step"], found["error"]) == ("directories", "/var/lib/other is there and is not a link")
    assert other.machine.sh("ls /var/lib/other") == "x\n"


def test_an_image_that_cannot_be_pulled(other: Other) -> None:
    image = other.box.image.partition("@")[0] + "@sha256:" + "0" * 64
    found = other.run(code=1, image=image)
    assert (found["state"], found["step"]) == ("failed", "image")
    assert found["error"].startswith(f"pulling {image} failed: ")
    assert "manifest unknown" in found["error"]


def test_an_engine_that_does_not_answer(other: Other) -> None:
    other.machine.fault("docker", 'exec $REAL -H unix:///run/other/none.sock "$@"')
    found = other.run(code=1)
    assert found["step"] == "container engine"
    assert found["error"].startswith("the container engine does not answer after 1 s: ")
    assert "Cannot connect to the Docker daemon at unix:///run/other/none.sock" in found["error"]


def test_a_login_that_nobody_knows(other: Other) -> None:
    found = other.run(code=1, user="nobody_example_com", login_seconds=1)
    assert found["step"] == "directories"
    assert "knows no login nobody_example_com after 1 s" in found["error"]


def test_a_failure_that_nobody_thought_of(other: Other) -> None:
    other.machine.fault(
        "docker", '[ "$1" != run ] || { echo "no space left on device" >&2; exit 125; }; exec $REAL "$@"'
    )
    found = other.run(code=1)
    assert (found["state"], found["step"]) == ("failed", "container")
    assert "no space left on device" in found["error"]


# --- Killed, and run again


def _is_up(other: Other) -> None:
    said = other.run()
    assert (said["state"], other.said) == ("ready", "")
    found = other.box.inspected("other-worker")
    assert other.spec is not None
    assert faults(other.spec, found, found["Image"]) == []
    assert found["State"]["Running"]
    assert "tmux" in other.machine.run("/mnt/disks/other/bin/tmux", "-V")
    there = other.machine.sh("ls -A /mnt/disks/other/bin").split()
    assert there == [".tools", "terminfo", "tmux", "tmux.static"]
    assert b"being formatted" not in other.disk.file.read_bytes()[-4096:]
    assert other.machine.run("docker", "ps", "--all", "--quiet", "--filter", "name=offload-tools") == ""


def test_killed_at_each_step(other: Other) -> None:
    # The report of a step, which is moved into place, comes before its work.
    kill = """$REAL "$@" || exit
[ -z "$(grep -F "\\"step\\": \\"$(cat /run/kill-at)\\"" /run/other/boot.json)" ] || die"""
    other.machine.fault("mv", kill)
    for name in STEPS[:-1]:
        other.machine.sh('printf %s "$STEP" > /run/kill-at', env={"STEP": name})
        assert other.run(code=-9)["step"] == name
    other.machine.fault("mv")
    _is_up(other)


MIDDLES = {
    # Everything but the superblock, which is written last.
    "format": ("mkfs.ext4", '$REAL "$@"; dd if=/dev/zero of="${@: -2:1}" bs=1024 seek=1 count=1; die'),
    # The superblock, and not what it promises.
    "format, in another order": (
        "mkfs.ext4", '$REAL "$@"; dd if=/dev/zero of="${@: -2:1}" bs=4096 seek=1 count=400; die'
    ),
    "format, at its end": ("mkfs.ext4", '$REAL "$@"; die'),
    "copy of tmux": ("docker", '[ "$1" != cp ] || [ "${2%terminfo}" = "$2" ] || die; exec $REAL "$@"'),
    "making the container": (
        "docker", '[ "$1" != run ] || { shift 2; $REAL create "$@"; die; }; exec $REAL "$@"'
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MIDDLES)
def test_killed_in_the_middle_of(other: Other, what: str) -> None:
    program, script = MIDDLES[what]
    other.machine.fault(program, script)
    other.run(code=-9)
    other.machine.fault(program)
    _is_up(other)


def test_a_mark_on_a_disk_that_is_in_use_means_nothing(other: Other) -> None:
    """A job may write what it likes to its files, and the disk's last block may be in one of them."""
    other.run()
    machine = other.machine
    machine.sh("echo precious > /mnt/disks/other/jobs/kept; docker rm --force other-worker")
    machine.sh("umount /mnt/disks/other")
    _write(other.disk, SIZE - 4096, b"offload: being formatted".ljust(4096, b"\0"))
    _write(other.disk, 2048, b"\xff" * 40960)
    assert other.run(code=1)["error"].startswith("the data disk is damaged")
    assert b"precious\n" in other.disk.file.read_bytes()


def test_on_the_hosts_network_too_the_identity_is_out_of_reach(other: Other) -> None:
    other.run(container={"network": "host"})
    ask = "import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=20)"
    assert other.spec is not None
    # As a task does; only our supervisor is user 0 in a container.
    inside = ["docker", "exec", "--user", other.spec.user, "other-worker", "python3", "-c", ask]
    there = f"http://{METADATA}/computeMetadata/v1/"
    assert "Connection refused" in other.machine.run(*inside, there, code=1)
    assert "HTTP Error 401" in other.machine.run(*inside, "http://10.128.0.1:5000/v2/", code=1)
    other.machine.run("curl", "--silent", "--fail", "--header", "Metadata-Flavor: Google", there)


def test_a_tmux_that_a_power_cut_left_empty_is_copied_again(other: Other) -> None:
    other.run()
    other.machine.sh("truncate --size 0 /mnt/disks/other/bin/tmux.static; sync")
    _is_up(other)


def test_a_tmux_that_does_not_run_here(other: Other) -> None:
    spoil = 'case $1 in cp) $REAL "$@" && echo "exit 3" > "$3" ;; *) exec $REAL "$@" ;; esac'
    other.machine.fault("docker", spoil.replace("&&", '&& [ -d "$3" ] ||'))
    found = other.run(code=1)
    assert (found["state"], found["step"]) == ("failed", "tmux")
    assert found["error"].startswith("the tmux of the image does not run on this host")


def test_a_shield_that_cannot_be_raised(other: Other) -> None:
    """Without it, jobs could take the machine's identity: then no container is started."""
    other.machine.fault(
        "iptables", 'for word; do [ "$word" != -C ] || exit 1; done; echo "no such table"; exit 3'
    )
    found = other.run(code=1)
    assert (found["state"], found["step"]) == ("failed", "metadata server")
    assert found["error"].startswith("keeping jobs from the metadata server failed with 1: no such table")
    other.machine.run("docker", "inspect", "other-worker", code=1)


def test_two_at_once_do_not_disturb_each_other(other: Other) -> None:
    with ThreadPoolExecutor(2) as both:
        first, second = both.submit(other.start), both.submit(other.start)
    assert (first.result(), second.result()) == ("", "")
    _is_up(other)
