"""What `doctor --apply` does on machines of other kinds, by stubs that write down how they are called."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from jobs.errors import OffloadError
from jobs.remote.layout import Layout
from jobs.transport.local import LocalTransport
from jobs.workers.probe import Machine, look_at
from jobs.workers.repair import repair_machine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="Only root can give a directory to another user.")
PERSON = 1234
# What a machine has of its own; `sudo` is root for the length of one command.
ID = f'[ -z "$AS_ROOT" ] || exec /usr/bin/id "$@"; case $1 in -u) echo {PERSON};; *) echo ada;; esac'
SUDO = '[ "$1" = -n ] || exit 9; shift; AS_ROOT=1 exec "$@"'
INSTALL = 'ln -s /usr/bin/true "$BIN/tmux"'


class Stubs:
    """A PATH without tmux and engines, with stubs that log their name and words."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin = directory / "bin"
        self.bin.mkdir()
        self.log = directory / "log"
        self.log.touch()
        left_out = ("tmux", "docker", "podman", "apt-get", "dnf", "sudo")
        for entry in os.scandir("/usr/bin"):
            if not entry.name.startswith(left_out):
                (self.bin / entry.name).symlink_to(entry.path)
        for name, value in (
            ("PATH", str(self.bin)),
            ("BIN", str(self.bin)),
            ("LOG", str(self.log)),
            ("SHELL", "/bin/false"),
        ):
            monkeypatch.setenv(name, value)

    def put(self, name: str, script: str) -> None:
        (self.bin / name).unlink(missing_ok=True)
        quiet = "" if name == "id" else f'echo "${{AS_ROOT:+root }}{name} $*" >>"$LOG"\n'
        (self.bin / name).write_text(f"#!/bin/sh\n{quiet}{script}\n")
        (self.bin / name).chmod(0o755)

    def said(self) -> list[str]:
        """Return what was called, without sudo's own lines."""
        return [line for line in self.log.read_text().splitlines() if not line.startswith("sudo")]


@pytest.fixture
def stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stubs:
    return Stubs(tmp_path, monkeypatch)


async def look(root: Path, *, container: bool = False) -> Machine:
    layout = Layout(root=str(root))
    return await look_at(LocalTransport(), layout, root=str(root), container=container, power=True)


async def repair_and_look(machine: Machine) -> tuple[bool, Sequence[str]]:
    told: list[str] = []
    done = await repair_machine(LocalTransport(), machine, told.append)
    return done, told


@pytest.mark.parametrize(
    ("installer", "words", "engine"),
    [
        ("apt-get", "install -y --no-install-recommends", "docker.io"),
        ("dnf", "install -y", "podman"),
    ],
)
@pytest.mark.parametrize("power", ["root", "sudo"])
async def test_packages_are_installed_with_the_power_there_is(
    stubs: Stubs, tmp_path: Path, installer: str, words: str, engine: str, power: str
) -> None:
    stubs.put(installer, INSTALL)
    if power == "sudo":
        stubs.put("id", ID)
        stubs.put("sudo", SUDO)
    machine = await look(tmp_path / "root", container=True)
    assert (machine.installer, machine.power) == (installer, power)
    assert stubs.said() == [], "looking changes nothing"
    done, told = await repair_and_look(machine)
    assert done
    prefix = "sudo " if power == "sudo" else ""
    assert told[0] == f"Installing tmux, {engine} with {prefix}{installer}"
    as_root = "root " if power == "sudo" else ""
    assert stubs.said() == [f"{as_root}{installer} {words} tmux {engine}"]


async def test_apt_that_knows_no_package_yet_is_told_to_look(stubs: Stubs, tmp_path: Path) -> None:
    stubs.put("apt-get", 'case $1 in update) touch "$BIN/.known";; *) test -e "$BIN/.known";; esac')
    await repair_and_look(await look(tmp_path / "root"))
    install = "apt-get install -y --no-install-recommends tmux"
    assert stubs.said() == [install, "apt-get update", install]


async def test_a_failed_installation_says_its_last_line(stubs: Stubs, tmp_path: Path) -> None:
    stubs.put("dnf", "echo Error: Unable to find a match: tmux >&2; exit 1")
    with pytest.raises(OffloadError, match=r"Installing packages .* failed: Error: Unable to find a match"):
        await repair_and_look(await look(tmp_path / "root"))


async def test_a_root_of_somebody_else_is_taken_back_by_sudo(stubs: Stubs, tmp_path: Path) -> None:
    (stubs.bin / "tmux").symlink_to("/usr/bin/true")
    root = tmp_path / "root"
    (root / "jobs" / "old").mkdir(parents=True)
    root.chmod(0o777)
    (root / "theirs").write_text("not one of our parts")
    stubs.put("id", ID)
    stubs.put("sudo", SUDO)
    machine = await look(root)
    assert any("belongs to user 0, and we are ada" in problem.detail for problem in machine.failures)
    assert await repair_and_look(machine) == (True, [f"Making {root} a directory of ada alone"])
    assert (root.stat().st_uid, root.stat().st_mode & 0o777) == (PERSON, 0o755)
    assert (root / "jobs" / "old").stat().st_uid == PERSON
    assert (root / "theirs").stat().st_uid == 0, "what is not ours stays whose it is"


async def test_sudo_that_asks_for_a_password_is_no_power(stubs: Stubs, tmp_path: Path) -> None:
    stubs.put("apt-get", INSTALL)
    stubs.put("id", ID)
    stubs.put("sudo", "echo sudo: a password is required >&2; exit 1")
    root = tmp_path / "root"
    root.mkdir()
    machine = await look(root)
    assert machine.power == ""
    assert await repair_and_look(machine) == (False, [])
    assert stubs.said() == []
    assert root.stat().st_uid == 0


async def test_the_environments_of_bases_are_counted(tmp_path: Path, stubs: Stubs) -> None:
    root = tmp_path / "root"
    kept = root / "base" / "environments"
    for name, days in (("a", 3), ("b", 1)):
        (kept / name).mkdir(parents=True)
        (kept / name / "x").write_bytes(os.urandom(3 << 20))
        os.utime(kept / name, (time.time() - days * 86400 - 60,) * 2)
    (kept / ".lock").touch()
    told = [problem.detail for problem in (await look(root)).problems if problem.subject == "environments"]
    assert told == [f"2 environments of bases in {kept}: 6 MiB, the oldest made 3 days ago."]
