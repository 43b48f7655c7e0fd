"""The boot of a machine at Google, from the cloud-init sent there, on a machine like one (`support/cos`)."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from jobs.remote.offload_runner.commands.watchdog import moment
from jobs.workers import cloud_init
from jobs.workers.container import lifecycle as containers
from jobs.workers.container.spec import faults
from tests.support.cos.box import ANN, LAYOUT, STEPS, Box, job, kinds
from tests.support.cos.cloud import METADATA
from tests.support.cos.disk import DISK_BYTES
from tests.support.cos.machine import CosMachine

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]

IDLE = f"{cloud_init.MOUNT}/state/idle.json"


def test_a_first_boot_says_each_step_and_that_it_is_ready(box: Box) -> None:
    assert (box.first["state"], box.first["error"], box.first["log"]) == ("ready", "", "")
    console = box.machine.console.decode().splitlines()
    boot = [f"offload: boot {box.first['boot_id']}"]
    said = [f"offload: booting: {name}" for name in STEPS[:-1]]
    assert console[: len(STEPS) + 1] == [*boot, *said, "offload: ready: up"]
    # Its end alone is published: guest attributes take ten queries a minute. Tests run the script again.
    reports = box.machine.cloud.reports()
    assert len(reports) <= box.times_ready()
    assert {(one["state"], one["step"]) for one in reports} == {("ready", "up")}


def test_the_machine_is_as_hard_as_the_real_one(box: Box) -> None:
    machine = box.machine
    for place in ("/", "/usr/bin", "/opt"):
        assert "Read-only file system" in machine.sh(f"mkdir -p {place}/x && touch {place}/x/y", code=1)
    for place in ("/home/ann", "/var/tmp", "/tmp"):
        script = (
            f"printf '#!/bin/sh\\n' > {place}/try && chmod 755 {place}/try && {place}/try; rm {place}/try"
        )
        assert "Permission denied" in machine.sh(script)
    assert machine.sh("command -v tmux cloud-init git; true") == ""


def test_files_and_units_are_where_they_belong(box: Box) -> None:
    said = box.machine.sh("stat -c '%a %U %n' /etc/offload/* /etc/systemd/system/*").splitlines()
    assert said == [
        "755 root /etc/offload/boot.sh",
        "755 root /etc/offload/watchdog.sh",
        "644 root /etc/systemd/system/offload-boot.service",
        "644 root /etc/systemd/system/offload-watchdog.service",
        "644 root /etc/systemd/system/offload-watchdog.timer",
    ]
    # A boot that hangs or fails must not cost for ever: the watchdog is there first.
    calls = box.machine.sh(
        "grep -vE 'is-active|watchdog.service|poweroff|docker' /run/systemctl.calls"
    ).splitlines()
    assert calls[:3] == [
        "daemon-reload",
        "start offload-watchdog.timer",
        "start --no-block offload-boot.service",
    ]
    assert box.machine.state("offload-watchdog.timer") == "active"


def test_the_disk_is_formatted_mounted_and_linked(box: Box) -> None:
    machine = box.machine
    assert "ext4 offload" in machine.sh(
        f"blkid -o value -s TYPE -s LABEL {machine.disk.device} | sort | xargs"
    )
    options = machine.run("findmnt", "--noheadings", "--output", "OPTIONS", "--mountpoint", cloud_init.MOUNT)
    assert {"rw", "nosuid", "nodev", "discard"} <= set(options.strip().split(","))
    assert "noexec" not in options
    lines = machine.sh(f"dumpe2fs -h {machine.disk.device}").splitlines()
    kept = dict(line.split(":", 1) for line in lines if line.startswith("Block "))
    size = int(kept["Block count"]) * int(kept["Block size"])
    # It grows to the disk's end once it is mounted, where root may do that: with CAP_SYS_RESOURCE.
    may = int(machine.run("sed", "-n", "s/CapEff://p", "/proc/self/status"), 16) >> 24 & 1
    assert size == DISK_BYTES - (0 if may else 2**20)
    assert machine.run("readlink", "/var/lib/offload").strip() == cloud_init.MOUNT
    assert machine.run("stat", "-c", "%u:%g", f"{cloud_init.MOUNT}/jobs").strip() == f"{ANN[0]}:{ANN[1]}"
    with machine.disk.file.open("rb") as file:
        file.seek(-4096, 2)
        assert b"being formatted" not in file.read()


def test_the_container_is_the_pulled_image_locked_down(box: Box) -> None:
    found = box.inspected()
    image = json.loads(box.machine.run("docker", "image", "inspect", box.image))[0]
    assert image["RepoDigests"] == [box.image]
    assert found["Config"]["Image"] == box.image
    assert faults(box.spec, found, image["Id"]) == []
    assert found["State"]["Running"]
    host = found["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["RestartPolicy"]["Name"] == "always"
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (2**30, 1_500_000_000, 512)
    assert box.machine.cloud.refused > 0  # it was pulled with the credentials of the machine


async def test_a_launch_finds_nothing_to_make_anew(box: Box) -> None:
    steps: list[str] = []
    spec = box.spec.owned_by("1000:1000")  # what the configuration says; the login is found out there
    before = box.inspected()["Id"]
    found = await containers.ensure(box.line, LAYOUT, spec, is_idle=True, step=steps.append)
    assert steps == ["Making the container maintainer-worker-control"]
    assert (found.image, found.note) == (box.image, "")
    assert box.inspected()["Id"] == before


def test_jobs_reach_the_network_and_not_the_machines_identity(box: Box) -> None:
    ask = "import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1]), timeout=20)"
    there = f"http://{METADATA}/computeMetadata/v1/instance/service-accounts/default/token"
    assert "metadata" in box.machine.run("curl", "--silent", "--header", "Metadata-Flavor: Google", there)
    inside = ["docker", "exec", "maintainer-worker", "python3", "-c", ask]
    assert "Connection refused" in box.machine.run(*inside, there, code=1)
    assert "HTTP Error 401" in box.machine.run(*inside, "http://10.128.0.1:5000/v2/", code=1)


def test_what_jobs_may_write_is_theirs(box: Box) -> None:
    write = (
        'for part; do touch "$part/try" 2>/dev/null && rm "$part/try" && echo "$part"; done; id -u; whoami'
    )
    parts = [f"{cloud_init.MOUNT}/{part}" for part in ("caches", "worktrees", "home", "jobs", "repos", "bin")]
    said = box.machine.run(
        "docker", "exec", "-u", f"{ANN[0]}:{ANN[1]}", "maintainer-worker",
        "sh", "-c", write, "sh", *parts, "/opt", "/tmp",
    )  # fmt: skip
    assert said.split() == [*parts[:3], "/tmp", str(ANN[0]), "maintainer"]


async def test_tmux_and_runner_work_from_the_data_disk(box: Box) -> None:
    tmux = f"{cloud_init.MOUNT}/bin/tmux"
    assert (await box.client.hello())["protocol"] == 1
    ldd = box.machine.run("/usr/.base/bin/ldd", f"{tmux}.static", code=None)
    assert "not a dynamic executable" in ldd or "statically linked" in ldd
    async with job(box, "offload-demo-1-review"):
        said = await box.line.run([tmux, "list-sessions", "-F", "#{session_name}"])
        assert b"offload-demo-1-review" in said.stdout.splitlines()
        # A terminal that no description on the host is needed for.
        attach = f"{tmux} attach -t =offload-demo-1-review \\; detach"
        shown = await box.line.run(["/usr/.base/bin/script", "-qec", attach, "/dev/null"], check=False)
        assert b"detached" in shown.stdout, shown


async def test_running_it_again_changes_nothing(box: Box) -> None:
    async with job(box, "offload-demo-2-review"):
        started, files = box.inspected()["State"]["StartedAt"], _files(box.machine)
        reports, ready = len(box.reports()), box.times_ready()
        box.machine.sh("bash /etc/offload/boot.sh")
        assert _files(box.machine) ^ files == set()
        assert box.inspected()["State"]["StartedAt"] == started
        assert box.boot_steps(ready) == [name for name in STEPS if "the data disk" not in name]
        assert box.machine.boot_file()["state"] == "ready"
        # What systemd does when it is asked to start what is up.
        box.machine.systemctl("start", "offload-boot.service")
        assert len(box.reports()) == reports + 1
        assert await kinds(box, "offload-demo-2-review") == ["started", "task_started"]


def _files(machine: CosMachine) -> set[str]:
    there = f"{cloud_init.MOUNT}/bin {cloud_init.MOUNT}/state /var/lib/offload"
    find = f"find {there} -not -name '*.json' -printf '%p %i %m %U %T@ %l\\n'"
    return set(machine.sh(f"{find}; iptables -S").splitlines())


async def test_a_second_boot_takes_everything_up_again(box: Box) -> None:
    machine = box.machine
    asked = len(box.machine.cloud.blobs), machine.cloud.refused
    uuid = machine.run("blkid", "-o", "value", "-s", "UUID", machine.disk.device)
    before = box.inspected()
    await box.line.run(["sh", "-c", f"echo kept > {cloud_init.MOUNT}/worktrees/kept; sync"])
    await box.client.hello()
    ready = box.times_ready()
    machine.power_cut()
    # The worst order: the engine is up, and tries to start the container, long before the disk is there.
    box.start(docker_first=True)
    assert machine.sh(f"ls {cloud_init.MOUNT} /etc/offload/passwd", code=2)
    assert not box.inspected()["State"]["Running"]
    box.appear()
    said = machine.until_booted()
    assert (said["state"], said["error"], machine.log()) == ("ready", "", "")
    assert box.boot_steps(ready) == [name for name in STEPS if "format" not in name]
    assert len(box.reports()) == 1
    after = box.inspected()
    assert after["Id"] == before["Id"]
    assert after["State"]["Running"]
    assert after["State"]["StartedAt"] > before["State"]["StartedAt"]
    assert machine.run("blkid", "-o", "value", "-s", "UUID", machine.disk.device) == uuid
    kept = f"{cloud_init.MOUNT}/worktrees/kept"
    inside = machine.run("docker", "exec", "-u", str(ANN[0]), "maintainer-worker", "cat", kept)
    assert inside == "kept\n"
    assert (len(box.machine.cloud.blobs), machine.cloud.refused) == asked  # nothing was pulled again
    async with job(box, f"offload-demo-3-review-{machine.boots}"):
        pass


# --- The watchdog


def idle_for(box: Box, minutes: float) -> None:
    """Let the last use of the machine be so long ago."""
    seen = json.loads(box.machine.run("cat", IDLE))
    seen["idle_clock"] -= 60 * minutes
    box.machine.sh(f"cat > {IDLE}", input=json.dumps(seen))


def look(box: Box) -> tuple[dict[str, Any], int]:
    """Let the timer elapse; return what the watchdog wrote, and how often it turned the machine off."""
    before = len(box.machine.calls("poweroff"))
    assert box.machine.state("offload-watchdog.timer") == "active"
    box.machine.systemctl("start", "offload-watchdog.service")
    seen = json.loads(box.machine.run("cat", IDLE))
    return seen, len(box.machine.calls("poweroff")) - before


async def test_the_watchdog_turns_an_idle_machine_off_and_no_other(box: Box) -> None:
    await box.client.hello()  # the runner is there
    seen, off = look(box)
    assert (off, box.machine.log("offload-watchdog.service")) == (0, "")
    assert "nothing has been at work here since" in seen["because"]
    assert seen["boot_id"] == box.machine.run("cat", "/proc/sys/kernel/random/boot_id").strip()
    async with job(box, "offload-demo-4-review"):
        idle_for(box, 31)
        seen, off = look(box)
        assert (seen["stops_at"], seen["because"], off) == (None, "offload-demo-4-review is at work", 0)
    look(box)
    idle_for(box, 29)
    assert look(box)[1] == 0
    idle_for(box, 31)
    until = moment(time.time() + 3600)
    await box.line.put(f"{cloud_init.MOUNT}/state/keep-until", until.encode())
    seen, off = look(box)
    assert (seen["stops_at"], off) == (until, 0)
    box.machine.sh(f"rm {cloud_init.MOUNT}/state/keep-until")
    seen, off = look(box)
    assert (seen["off"], off) == (True, 1)


@pytest.mark.parametrize("missing", ["runner", "python"])
def test_without_runner_or_python_the_looks_that_found_no_use_count(box: Box, missing: str) -> None:
    machine = box.machine
    root = f"/mnt/disks/none-{missing}"
    machine.sh(f"mkdir -p {root}/jobs/a {root}/bin {root}/state; touch {root}/jobs/a/run.lock")
    if missing == "python":
        machine.sh(f"touch {root}/bin/runner-0.pyz")
        machine.fault("python3", "exit 127")
    made = cloud_init.of_worker("other", root, box.config)

    def off(looks: int, wrap: str = "") -> bool:
        script = cloud_init.render(made, cloud_init.WATCHDOG)
        machine.sh(f"echo {looks} > {root}/looks")
        env = {"OFFLOAD_OFF": f"touch {root}/off", "OFFLOAD_LOOKS": f"{root}/looks"}
        machine.sh(f"{wrap} bash -s", input=script, env=env)
        return "off" in machine.sh(f"ls {root}; rm -f {root}/off").split()

    try:
        assert not off(28)
        assert machine.run("cat", f"{root}/looks").strip() == "29"
        assert off(29)
        assert not off(29, wrap=f"flock {root}/jobs/a/run.lock")
        machine.sh(f"date -u -d '+1 hour' +%Y-%m-%dT%H:%M:%SZ > {root}/state/keep-until")
        assert not off(29)
        for nonsense in ("tomorrow or so", "", "9999-01-01T00:00:00Z", "2020-01-01T00:00:00Z"):
            machine.sh(f"cat > {root}/state/keep-until", input=nonsense)
            assert off(29), nonsense
        machine.sh("exec -a 'sshd: ann@pts/0' sleep 60 > /dev/null 2>&1 & echo $! > /run/login")
        assert not off(29)
    finally:
        machine.fault("python3")
        machine.sh(f"[ ! -e /run/login ] || kill $(cat /run/login); rm -rf {root} /run/login")


def test_a_failed_boot_still_ends(box: Box) -> None:
    """The watchdog needs neither the disk nor the boot: it is what ends the machine when these fail."""
    machine = box.machine
    machine.sh("mkdir -p /run/offload; echo 29 > /run/offload/idle-looks")
    made = cloud_init.of_worker("other", "/mnt/disks/never-mounted", box.config)
    before = len(machine.calls("poweroff"))
    machine.sh("bash -s", input=cloud_init.render(made, cloud_init.WATCHDOG))
    assert len(machine.calls("poweroff")) == before + 1
