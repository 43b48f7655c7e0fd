"""What a container is made like on each kind of engine; the facts are what real engines answered."""

import json
from typing import Any

import pytest

from jobs.workers.container.engine import kind_of, name_of, version_of
from jobs.workers.container.spec import ContainerSpec, EngineKind, faults

# `docker info --format '{{json .}}'` of 20.10 and 27, and `podman info` of 4.3: the parts that are read.
DOCKER = {"ServerVersion": "20.10.24+dfsg1", "SecurityOptions": ["name=seccomp,profile=default"]}
ROOTLESS_DOCKER = {
    "ServerVersion": "27.5.1",
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless", "name=cgroupns"],
}
REMAPPED = {"ServerVersion": "27.5.1", "SecurityOptions": ["name=seccomp,profile=builtin", "name=userns"]}
PODMAN = {"host": {"security": {"rootless": False}}, "version": {"Version": "4.3.1"}}
ROOTLESS_PODMAN = {"host": {"security": {"rootless": True}}, "version": {"Version": "4.3.1"}}
ME = "1003:1004"


def made_on(info: dict[str, Any], owner: str = ME) -> tuple[ContainerSpec, str]:
    spec = ContainerSpec(root="/r").on(kind_of(info)).owned_by(owner)
    return spec, " ".join(spec.run_argv("sha256:1"))


@pytest.mark.parametrize(
    ("info", "user", "words", "not_words"),
    [
        (DOCKER, ME, ["--network bridge", "--cap-add KILL"], ["--userns"]),
        (REMAPPED, ME, ["--userns host"], []),
        (ROOTLESS_DOCKER, "0:0", ["--network bridge"], ["--userns", "/etc/passwd", "--cap-add"]),
        (PODMAN, ME, [], ["--userns", "--network"]),
        (ROOTLESS_PODMAN, ME, ["--userns keep-id"], ["--network"]),
    ],
    ids=["docker", "remapped-docker", "rootless-docker", "podman", "rootless-podman"],
)
def test_what_jobs_write_belongs_to_the_caller(
    info: dict[str, Any], user: str, words: list[str], not_words: list[str]
) -> None:
    spec, line = made_on(info)
    assert "--user 0:0 " in line
    assert f"--env OFFLOAD_USER={user}" in line
    assert [
        word for word in [*words, "--cap-drop ALL", "no-new-privileges", "--init"] if word not in line
    ] == []
    assert [word for word in not_words if word in line] == []
    assert spec.passwd == (user != "0:0")


def test_kinds_and_versions_are_read_from_what_engines_say() -> None:
    assert kind_of(DOCKER) == EngineKind()
    assert kind_of(ROOTLESS_DOCKER) == EngineKind(rootless=True)
    assert kind_of(ROOTLESS_PODMAN) == EngineKind(podman=True, rootless=True)
    assert version_of(ROOTLESS_DOCKER) == "27.5.1"
    assert version_of(PODMAN) == "4.3.1"
    assert version_of({}) == "?"


def test_another_kind_of_engine_is_another_container() -> None:
    digests = {made_on(info)[0].digest() for info in (DOCKER, REMAPPED, ROOTLESS_DOCKER, PODMAN)}
    assert len(digests) == 4


def test_an_image_has_one_name_on_both_engines() -> None:
    assert name_of({"Id": "ab12"}) == name_of({"Id": "sha256:ab12", "RepoDigests": []}) == "sha256:ab12"
    made_up = {"Id": "ab12", "RepoDigests": ["localhost/maintainer@sha256:9"]}
    assert name_of(made_up) == "sha256:ab12"
    pushed = {"Id": "ab12", "RepoDigests": ["localhost:5000/maintainer@sha256:9"]}
    assert name_of(pushed) == "localhost:5000/maintainer@sha256:9"


def found(**host: Any) -> dict[str, Any]:
    """Return what `inspect` says of a container that is as it must be, with changes to its HostConfig."""
    spec, _ = made_on(PODMAN)
    mounts = [*((mount.path, mount.writable) for mount in spec.mounts()), ("/etc/passwd", False)]
    usual = {
        "ReadonlyRootfs": True, "Privileged": False, "SecurityOpt": ["no-new-privileges"],
        "CapAdd": [], "CapDrop": ["CAP_CHOWN", "CAP_FOWNER"],
    }  # fmt: skip
    return {
        "Image": "ab12",
        "Config": {"User": "0:0", "Labels": {"offload.spec": spec.digest()}},
        "HostConfig": {**usual, **host},
        "Mounts": [{"Type": "bind", "Destination": path, "RW": rw} for path, rw in mounts],
    }


def test_podmans_ids_and_capabilities_are_compared_by_what_they_mean() -> None:
    spec, _ = made_on(PODMAN)
    assert faults(spec, found(), "sha256:ab12") == []
    assert faults(spec, found(CapDrop=[]), "ab12") == ["it has capabilities"]
    assert faults(spec, found(CapAdd=["CAP_SYS_ADMIN"]), "ab12") == ["it has capabilities"]
    assert faults(spec, json.loads(json.dumps(found())), "ab13") == ["it was made from another image"]
