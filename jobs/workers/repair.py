"""What `doctor WORKER --apply` repairs on a machine: packages, and the root's directory and owner.

Each step is told before it is taken. Nothing is done with more power than the account has: root, or sudo
that asks for no password.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jobs.errors import CommandFailed, OffloadError
from jobs.providers.base import Severity
from jobs.transport.base import Transport
from jobs.workers.probe import NEEDED, PARTS, Machine

INSTALL_DEADLINE = 900.0
PACKAGES: Mapping[str, Mapping[str, str]] = {
    "apt-get": {"tmux": "tmux", "git": "git", "python3": "python3", "engine": "docker.io"},
    "dnf": {"tmux": "tmux", "git": "git", "python3": "python3", "engine": "podman"},
}
_INSTALL: Mapping[str, str] = {
    "apt-get": "export DEBIAN_FRONTEND=noninteractive; "
    'apt-get install -y --no-install-recommends "$@" || '
    '{ apt-get update && apt-get install -y --no-install-recommends "$@"; }',
    "dnf": 'dnf install -y "$@"',
}
# $1: root, $2: user id, $3...: parts of it. Made, owned and closed to other writers.
_MAKE = r"""
root=$1 uid=$2; shift 2
[ -d "$root" ] || mkdir -p -m 700 -- "$root" || exit
if [ "$(id -u)" = 0 ] && [ "$uid" != 0 ]; then
  chown -- "$uid" "$root" || exit
  for part; do if [ -e "$root/$part" ]; then chown -R -- "$uid" "$root/$part" || exit; fi; done
fi
chmod u+rwx,go-w -- "$root"
"""


async def repair_machine(transport: Transport, machine: Machine, tell: Callable[[str], None]) -> bool:
    """Repair what can be repaired; return whether anything was done. Look again afterwards.

    `tell` hears each step before it is taken. Raises what stood in the way of a step.
    """
    packages = _missing(machine)
    done = False
    if packages and machine.power and machine.installer:
        tell(f"Installing {', '.join(packages)} with {_prefix(machine)}{machine.installer}")
        await _as_root(
            transport, machine, _INSTALL[machine.installer], *packages, doing="Installing packages"
        )
        done = True
    if _root_is_wrong(machine):
        foreign = machine.uid not in (0, machine.owner) if machine.kind == "directory" else False
        needs_power = foreign or bool(machine.blocked) or (machine.kind == "absent" and not machine.writable)
        if needs_power and not machine.power:
            return done
        tell(f"Making {machine.root} a directory of {machine.user or machine.uid} alone")
        words = (machine.root, str(machine.uid), *PARTS)
        if needs_power:
            await _as_root(transport, machine, _MAKE, *words, doing=f"Making {machine.root}")
        else:
            await transport.run(["sh", "-c", _MAKE, "sh", *words])
        done = True
    return done


def _missing(machine: Machine) -> list[str]:
    names = PACKAGES.get(machine.installer, {})
    wanted = [name for name in NEEDED if name not in machine.programs]
    no_engine = any(p.subject == "engine" for p in machine.failures) and not machine.refused
    return [names[name] for name in [*wanted, *(["engine"] if no_engine else [])] if name in names]


def _root_is_wrong(machine: Machine) -> bool:
    if machine.kind == "file":
        return False  # Somebody's: not ours to move.
    if machine.kind == "absent":
        return True
    return any(p.subject == "root" and p.severity is not Severity.PASS for p in machine.problems)


def _prefix(machine: Machine) -> str:
    return "sudo " if machine.power == "sudo" else ""


async def _as_root(transport: Transport, machine: Machine, script: str, *words: str, doing: str) -> None:
    sudo = ["sudo", "-n"] if machine.power == "sudo" else []
    try:
        await transport.run([*sudo, "sh", "-c", script, "sh", *words], deadline=INSTALL_DEADLINE)
    except CommandFailed as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        raise OffloadError(
            f"{doing} on {transport.endpoint} failed: "
            f"{lines[-1] if lines else f'exit status {error.exit_status}'}",
            hint="Do it there by hand, then look again.",
        ) from error
