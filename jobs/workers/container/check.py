"""Looking at a worker's container without touching it, for `doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.errors import OffloadError
from jobs.providers.base import Problem, Severity
from jobs.remote.offload_runner.commands.supervise import USER
from jobs.transport.base import Transport
from jobs.workers.container.engine import Engine, kind_of, name_of, version_of
from jobs.workers.container.spec import ContainerSpec, EngineKind, faults, is_unsafe


async def check_container(transport: Transport, spec: ContainerSpec) -> list[Problem]:
    """Return what is right and wrong with the engine, the image and the container of a worker."""
    engine = Engine(transport, spec)
    if spec.isolation == "job":
        spec = spec.for_control()
    try:
        info = await engine.info()
        image = await engine.inspect("image", spec.image)
        found = await engine.inspect("container", spec.container)
    except OffloadError as error:
        return [Problem(Severity.FAIL, "container engine", error.message, error.hint)]
    kind = kind_of(info)
    told = f"{' '.join(spec.engine)} {version_of(info)} answers{_how(kind)}."
    problems = [Problem(Severity.PASS, "container engine", told)]
    if image is None:
        remedy = (
            "Build it there with `manage.py fleet image build`; one of a registry is pulled by the next job."
        )
        return [*problems, Problem(Severity.WARN, "image", f"{spec.image} is not there.", remedy)]
    problems.append(Problem(Severity.PASS, "image", f"{spec.image} is {name_of(image)}."))
    if found is None:
        text = f"{spec.container} is not there yet; the next job makes it."
        return [*problems, Problem(Severity.PASS, "container", text)]
    config = found.get("Config") or {}
    # Who owns the root was looked at when the container was made; the check compares the rest.
    said = faults(_as_made(spec.on(kind), _user_of(config)), found, str(image["Id"]))
    if said:
        severity = Severity.FAIL if is_unsafe(said) else Severity.WARN
        text = f"{spec.container} is not what it must be: {', '.join(said)}."
        remedy = "It is made again by the next job that finds no other job in it."
        return [*problems, Problem(severity, "container", text, remedy)]
    if not (found.get("State") or {}).get("Running"):
        text = f"{spec.container} does not run; the next job starts it."
        return [*problems, Problem(Severity.WARN, "container", text)]
    return [*problems, Problem(Severity.PASS, "container", f"{spec.container} runs, and is as it was made.")]


def _how(kind: EngineKind) -> str:
    if not kind.rootless:
        return ""
    return ", without root: user 0 of its containers is you" if kind.is_you else ", without root"


def _user_of(config: Mapping[str, Any]) -> str:
    """Return the user that the container's jobs run as, as its environment says."""
    for variable in config.get("Env") or ():
        name, _, value = str(variable).partition("=")
        if name == USER:
            return value
    return ""


def _as_made(spec: ContainerSpec, user: str) -> ContainerSpec:
    return spec.owned_by(user) if user else spec
