"""The line to a machine, as a login of a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jobs.transport.base import OUTPUT_LIMIT, Completed, Process
from jobs.transport.local import LocalTransport
from tests.support.cos.machine import PATIENCE, CosMachine


class CosLine(LocalTransport):
    """The line to the machine, as a login of a person: what ssh is to a machine at Google."""

    def __init__(self, machine: CosMachine, uid: int, gid: int, groups: str = "412") -> None:
        super().__init__()
        self.machine = machine
        self.who = [f"--reuid={uid}", f"--regid={gid}", f"--groups={groups}"]

    def argv(self, argv: Sequence[str], env: Mapping[str, str] | None) -> list[str]:
        """Return the command line that runs a command there."""
        variables = {"HOME": "/home/ann", "SHELL": "/bin/bash", "TERM": "xterm-256color", **(env or {})}
        return self.machine.argv("/usr/.base/bin/setpriv", *self.who, *argv, env=variables)

    async def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        deadline: float = 30.0,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        limit: int = OUTPUT_LIMIT,
    ) -> Completed:
        """Run a command to its end."""
        return await super().run(
            self.argv(argv, env), input=input, deadline=max(deadline, PATIENCE), check=check, limit=limit
        )

    async def spawn(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Process:
        """Start a command with pipes."""
        return await super().spawn(self.argv(argv, env))

    async def put(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        script = 'cat > "$1.part" && chmod "$2" "$1.part" && mv "$1.part" "$1"'
        await self.run(["sh", "-c", script, "put", path, f"{mode:o}"], input=data)
