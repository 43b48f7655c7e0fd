"""Programs where a worker's jobs run: on the machine itself, or in the image of its containers."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.errors import NotConfigured, WorkerUnavailable
from jobs.transport.base import Completed
from jobs.workers.connection import Connection
from jobs.workers.container.engine import Engine
from jobs.workers.container.spec import ContainerSpec

LOOK_DEADLINE = 60.0
_SAID = 300
# $1: the program, $2: "yes" to ask it for its version. Without output there is none: 127 is a missing engine.
_LOOK = r"""
where=$(command -v "$1") || exit 0
printf '%s\n' "$where"
[ "$2" = yes ] || exit 0
limit=; command -v timeout >/dev/null 2>&1 && limit='timeout 30'
$limit "$1" --version 2>&1 </dev/null | tail -n 1
"""


@dataclass(frozen=True)
class FoundProgram:
    """A program. `said`: the last line of what it says of its version; empty when it was not asked."""

    path: str
    said: str = ""


async def find_program(line: Connection, name: str, *, ask_version: bool) -> FoundProgram | None:
    """Return a program as the worker's jobs would find it; None when there is none of that name.

    Nothing is changed; a container made from the image is removed again. Raises `NotConfigured` without an
    engine or the image, `WorkerUnavailable`, or an error of the line.
    """
    words = ["-c", _LOOK, "sh", name, "yes" if ask_version else "no"]
    if line.container is None:
        done = await line.transport.run(["sh", *words], deadline=LOOK_DEADLINE, check=False)
    else:
        done = await _look_in_image(Engine(line.transport, line.container), line.container, words)
    said = done.stdout.decode(errors="replace").splitlines()
    if done.exit_status != 0:
        why = done.stderr.decode(errors="replace").strip().splitlines()
        raise WorkerUnavailable(
            f"Looking for {name} failed: {why[-1] if why else f'exit status {done.exit_status}'}"
        )
    if not said:
        return None
    return FoundProgram(said[0], said[-1].strip()[:_SAID] if len(said) > 1 else "")


async def _look_in_image(engine: Engine, spec: ContainerSpec, words: list[str]) -> Completed:
    if await engine.inspect("image", spec.image) is None:
        raise NotConfigured(
            f"The image {spec.image} is not there.",
            hint="Build it with `offload fleet image build`; one of a registry is pulled by the next job.",
        )
    return await engine.ask(
        "run", "--rm", "--pull", "never", "--network", "none", "--read-only", "--tmpfs", "/tmp",  # noqa: S108
        "--env", "HOME=/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--entrypoint", "sh", spec.image, *words, deadline=LOOK_DEADLINE,
    )  # fmt: skip
