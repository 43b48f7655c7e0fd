"""The machine itself: its disks outlive a power cut, everything else starts empty."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import termios
import threading
import time
import tty
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.cos.cloud import REGISTRY, Cloud
from tests.support.cos.disk import Disk
from tests.support.runner_root import wait_for

HERE = Path(__file__).resolve().parent
DEVICE = "/dev/disk/by-id/google-offload-data"
PATIENCE = 90.0
PROGRAMS = [
    word
    for line in (HERE / "programs.txt").read_text().splitlines()
    if line[:1] != "#"
    for word in line.split()
]
_UNIT = """[Unit]
Description=Docker Application Container Engine
[Service]
Type=notify
ExecStart={dockerd} --data-root /var/lib/docker -H unix:///run/docker.sock --pidfile /run/docker.pid \
--insecure-registry {registry} --cgroup-parent {cgroup}
"""
_DIE = """die() {
    local pid=$PPID name all=
    while read -r name 2>/dev/null < /proc/$pid/comm && [ "$name" = bash ]; do
        all="$pid $all"
        pid=$(sed 's/.*) . //' /proc/$pid/stat | cut -d ' ' -f 1)
    done
    kill -KILL $all
    exit 1
}
"""
_DIRECTORIES = """etc var home mnt/disks proc sys dev run tmp root .old
usr/.base usr/bin usr/sbin usr/local/sbin usr/lib/systemd/system"""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"


class CosMachine:
    """One machine: `power_on`, `boot`, `run`, `power_cut`, any number of times; `close` at last."""

    def __init__(self, directory: Path, cloud: Cloud) -> None:
        self.directory = directory
        self.cloud = cloud
        self.disk = Disk(directory / "disk.img")
        self.console = b""
        self.boots = 0
        self._cgroup = f"offload-cos-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._terminal = -1
        self._reader = threading.Thread()
        self._lay_out()

    # --- what the machine is made of

    def _lay_out(self) -> None:
        root = self.directory / "root"
        for part in _DIRECTORIES.split():
            (root / part).mkdir(parents=True)
        for part in ("bin", "sbin", "lib", "lib64", "lib32", "libx32"):
            if Path(f"/{part}").is_symlink():
                (root / part).symlink_to(f"usr/{part}")
        for entry in Path("/usr").iterdir():
            if (entry.name.startswith("lib") and entry.name != "lib") or entry.name == "share":
                (root / "usr" / entry.name).symlink_to(f".base/{entry.name}")
        for entry in Path("/usr/lib").iterdir():
            if entry.name != "systemd":
                (root / "usr/lib" / entry.name).symlink_to(f"../.base/lib/{entry.name}")
        for name in PROGRAMS:
            for place in ("bin", "sbin"):
                if Path(f"/usr/{place}/{name}").exists():
                    (root / "usr" / place / name).symlink_to(f"../.base/{place}/{name}")
        for name in ("systemctl", "docker-credential-gcr"):
            shutil.copy(HERE / name, root / "usr/bin" / name)
        unit = _UNIT.format(dockerd=shutil.which("dockerd"), registry=REGISTRY, cgroup=f"/{self._cgroup}")
        (root / "usr/lib/systemd/system/docker.service").write_text(unit)
        etc = self.directory / "etc"
        etc.mkdir()
        for name in ("alternatives", "mke2fs.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "protocols"):
            there = Path("/etc") / name
            if there.is_dir():
                shutil.copytree(there, etc / name, symlinks=True)
            elif there.exists():
                shutil.copy(there, etc / name)
        (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n")
        (etc / "group").write_text("root:x:0:\ndocker:x:412:\nnogroup:x:65534:\n")
        (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
        (etc / "hosts").write_text("127.0.0.1 localhost\n")
        (etc / "resolv.conf").write_text("nameserver 169.254.169.254\n")
        for part in ("var/lib/docker", "var/lib/cloud", "var/tmp", "var/log", "home"):
            (self.directory / "stateful" / part).mkdir(parents=True)
        (self.directory / "stateful/var/run").symlink_to("/run")
        (self.directory / "faults").mkdir()

    # --- power

    def power_on(self) -> None:
        """Start the machine, with its network and without its data disk."""
        assert self._process is None
        self.boots += 1
        (self.directory / "boot_id").write_text(f"{uuid.uuid4()}\n")
        ours, theirs = os.openpty()
        tty.setraw(theirs, termios.TCSANOW)
        reaper = shutil.which("docker-init") or "/usr/libexec/docker/docker-init"
        assert os.path.realpath(reaper).startswith("/usr/")
        reaper = "/usr/.base" + os.path.realpath(reaper).removeprefix("/usr")
        argv = [
            "setpriv", "--pdeathsig", "KILL",
            "unshare", "--mount", "--propagation", "private", "--net", "--uts", "--ipc", "--pid", "--fork",
            "--kill-child", "bash", str(HERE / "init.sh"), str(self.directory), os.ttyname(theirs), reaper,
        ]  # fmt: skip
        self._process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        said = self._process.stdout.readline()
        assert said == b"up\n", self._process.stderr.read().decode()
        self._process.stdout.close()
        self._process.stderr.close()
        self._terminal = theirs
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        self._pid = int(children.split()[0])
        self._reader = threading.Thread(target=self._listen, args=(ours,), daemon=True)
        self._reader.start()
        self.cloud.connect(self._pid)

    def _listen(self, console: int) -> None:
        # Ends when no process has the other side open any more.
        with contextlib.suppress(OSError):
            while data := os.read(console, 65536):
                self.console += data
        os.close(console)

    def power_cut(self) -> None:
        """End everything on the machine at once. Its disks keep what was written to them."""
        if self._process is None:
            return
        os.kill(self._pid, signal.SIGKILL)
        self._process.wait(30)
        self._process = None
        os.close(self._terminal)
        self._reader.join(10)
        self._remove_cgroups()

    def close(self) -> None:
        """End the machine and remove all of it; fail when something of it is left."""
        self.power_cut()
        self.disk.close()
        left = [
            line for line in Path("/proc/self/mounts").read_text().splitlines() if str(self.directory) in line
        ]
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self._cgroup in (process / "cgroup").read_text():
                    left.append((process / "cmdline").read_text().replace("\0", " "))
        devices = subprocess.run(["losetup", "--list"], capture_output=True, text=True, check=True).stdout
        left += [line for line in devices.splitlines() if str(self.directory) in line]
        left += map(str, self.cgroups())
        assert not left, left
        shutil.rmtree(self.directory)

    def _remove_cgroups(self) -> None:
        def gone() -> bool:
            for top in self.cgroups():
                for directory, _, _ in os.walk(top, topdown=False):
                    with contextlib.suppress(OSError):
                        os.rmdir(directory)
            return not self.cgroups()

        wait_for(gone)

    def cgroups(self) -> list[Path]:
        """Return the control groups that are the machine's."""
        top = Path("/sys/fs/cgroup")
        return [*top.glob(self._cgroup), *top.glob(f"*/{self._cgroup}")]

    # --- on the machine

    def argv(self, *words: str, env: Mapping[str, str] | None = None) -> list[str]:
        """Return a command line that runs a command on the machine, as root."""
        assert self._process is not None, "the machine is off"
        enter = [
            "nsenter",
            "--target",
            str(self._pid),
            "--mount",
            "--net",
            "--uts",
            "--ipc",
            "--pid",
            "--root",
        ]
        variables = {"PATH": _PATH, "LANG": "C.UTF-8", **(env or {})}
        return [*enter, "env", "-i", *(f"{key}={value}" for key, value in variables.items()), *words]

    def run(self, *words: str, code: int | None = 0, **options: Any) -> str:
        """Run a command on the machine; return what it wrote, both streams. `code` None: whatever."""
        env = options.pop("env", None)
        options.setdefault("stdin", subprocess.DEVNULL)
        if "input" in options:
            options.pop("stdin")
        done = subprocess.run(
            self.argv(*words, env=env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", timeout=PATIENCE, check=False, **options,
        )  # fmt: skip
        said = str(done.stdout)
        assert code is None or done.returncode == code, f"{words} ended with {done.returncode}:\n{said}"
        return said

    def sh(self, script: str, code: int | None = 0, **options: Any) -> str:
        """Run a shell script on the machine."""
        return self.run("bash", "-c", script, code=code, **options)

    def attach_disk(self, disk: Disk | None = None, link: str = DEVICE) -> None:
        """Show the data disk as udev does: its device, and the link by which Google names it."""
        device = (disk or self.disk).device
        number = os.stat(device).st_rdev
        node = f"mknod -m 0660 {device} b {os.major(number)} {os.minor(number)}"
        self.sh(f"[ -b {device} ] || {node}; ln -sfn {device} {link}")

    def cloud_init(self, user_data: str) -> None:
        """Carry out a cloud-config as cloud-init does at each boot."""
        assert user_data.startswith("#cloud-config\n")
        config = json.dumps(yaml.safe_load(user_data))
        self.run("python3", "-c", (HERE / "cloud-init").read_text(), input=config)

    def systemctl(self, *words: str, code: int | None = 0) -> str:
        """Call the machine's systemctl."""
        return self.run("systemctl", *words, code=code)

    def start_docker(self) -> None:
        """Start the container engine, and wait until it answers."""
        self.systemctl("start", "docker.service")
        wait_for(lambda: "ok" in self.sh("docker version > /dev/null 2>&1 && echo ok", code=None), PATIENCE)

    def state(self, unit: str = "offload-boot.service") -> str:
        """Return the state of a unit: inactive, activating, active, failed."""
        return self.systemctl("is-active", unit, code=None).strip()

    def log(self, unit: str = "offload-boot.service") -> str:
        """Return what a unit wrote to the journal."""
        return self.run("cat", f"/run/{unit}.log", code=None)

    def until_booted(self) -> dict[str, Any]:
        """Wait until the boot script ends; return the boot file."""
        end = time.monotonic() + PATIENCE
        while self.state() in ("activating", "inactive"):
            assert time.monotonic() < end, self.log() + self.run("cat", "/run/offload/boot.json", code=None)
            time.sleep(0.05)
        return self.boot_file()

    def boot_file(self, file: str = "/run/offload/boot.json") -> dict[str, Any]:
        """Return what the machine says of its boot."""
        found: dict[str, Any] = json.loads(self.run("cat", file))
        return found

    def calls(self, verb: str) -> list[str]:
        """Return the calls of systemctl with this verb since the machine was turned on."""
        lines = self.run("cat", "/run/systemctl.calls").splitlines()
        return [line for line in lines if line.split()[0] == verb]

    def until_said(self, line: str) -> None:
        """Wait until a line was on the serial console."""
        try:
            wait_for(lambda: line in self.console.decode(errors="replace"))
        except AssertionError as error:
            raise AssertionError(
                "the console says:\n" + self.console.decode(errors="replace")[-3000:]
            ) from error

    def fault(self, program: str, script: str = "") -> None:
        """Put a script before a program of the machine; without a script, take it away.

        In it, `$REAL` is the program, and `die` kills the script that called it as a power cut would.
        """
        file = self.directory / "faults" / program
        file.unlink(missing_ok=True)
        if script:
            places = [
                place
                for place in ("sbin", "bin")
                if (self.directory / "root/usr" / place / program).is_symlink()
            ]
            real = f"/usr/{places[0]}/{program}"
            file.write_text(f"#!/bin/bash\nREAL={real}\n{_DIE}{script}\n")
            file.chmod(0o755)
