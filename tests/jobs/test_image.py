"""What is decided about the image without an engine: command lines, comparisons, the cloud's build."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.errors import UsageError
from jobs.operations import ImageBuild, build_image
from jobs.workers.container.image import DOCKERFILE_LABEL, Image, Recipe, build_argv, judge, outdated

ROOT = Path(__file__).resolve().parents[2]
BUILT_IN = {"PROJECT_ID", "BRANCH_NAME", "COMMIT_SHA"}
_SUBSTITUTION = re.compile(r"\$\$|\$\{?(_?[A-Z][A-Z0-9_]*)\}?")
RECIPE = Recipe(Path("/src/.gcp/Dockerfile.maintainer"), "d" * 64, "1.2", "c0ffee")


def cloud_build() -> dict[str, Any]:
    """Return Cloud Build's configuration."""
    found: dict[str, Any] = yaml.safe_load((ROOT / ".gcp" / "cloudbuild.yaml").read_text())
    return found


def cloud_steps() -> list[dict[str, Any]]:
    """Return its steps."""
    steps: list[dict[str, Any]] = cloud_build()["steps"]
    return steps


def substituted(script: str, values: dict[str, str]) -> str:
    """Return a script as Cloud Build hands it to the shell."""
    return _SUBSTITUTION.sub(lambda found: "$" if found[0] == "$$" else values[found[1]], script)


def image(id: str, *digests: str, **labels: str) -> Image:
    return Image(f"sha256:{id}", digests[0] if digests else f"sha256:{id}", digests, labels)


def test_the_cloud_build_is_whole() -> None:
    plan = cloud_build()
    assert [step["id"] for step in plan["steps"]] == ["base", "build", "tag", "push"]
    known = BUILT_IN | set(plan["substitutions"])
    used = set()
    for step in plan["steps"]:
        assert step["args"][0] == "-ceu"
        used |= set(_SUBSTITUTION.findall(step["args"][1])) - {""}
    assert used <= known
    assert {"_IMAGE", "_BASE_IMAGE", "BRANCH_NAME", "COMMIT_SHA"} <= used
    # A part of a name that Cloud Build would take for its own: the shell's variables are written with `$$`.
    arguments = set(re.findall(r"--build-arg (\w+)=", plan["steps"][1]["args"][1]))
    declared = set(re.findall(r"^ARG (\w+)", (ROOT / ".gcp/Dockerfile.maintainer").read_text(), re.MULTILINE))
    assert arguments <= declared
    assert {"BASE_IMAGE", "BASE_DIGEST", "VERSION", "REVISION", "DOCKERFILE_SHA256"} == arguments


def test_a_build_hands_proxies_on_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy.test:3128")
    argv = build_argv(
        ["podman"],
        RECIPE,
        "worker:1",
        "debian@sha256:ab",
        network="host",
        agent=False,
        more_agents=["a@1", "@b/c@2"],
    )
    assert argv[:6] == ["podman", "build", "--tag", "worker:1", "--file", str(RECIPE.dockerfile)]
    assert argv[argv.index("https_proxy") - 1] == "--build-arg"
    assert not any("secret" in word for word in argv)
    assert {
        "BASE_IMAGE=debian@sha256:ab",
        "REVISION=c0ffee",
        "WITH_AGENT=0",
        "MORE_AGENTS=a@1 @b/c@2",
    } <= set(argv)
    assert argv[-3:] == ["--network", "host", "/src/.gcp"]


def test_an_image_is_the_same_by_id_or_by_a_shared_digest() -> None:
    here = image("aa", "reg.test/w@sha256:11")
    assert judge("box", "w:1", here, image("aa"), "sha256:aa").problem == ""
    assert judge("box", "w:1", here, image("bb", "reg.test/w@sha256:11"), "").problem == ""
    other = judge("box", "w:1", here, image("bb", "reg.test/w@sha256:22"), "")
    assert other.problem == "box has w:1 as reg.test/w@sha256:22, and here it is reg.test/w@sha256:11."
    stale = judge("box", "w:1", here, image("aa"), "sha256:cc")
    assert "runs sha256:cc, and w:1 is now sha256:aa" in stale.problem
    assert "docker save w:1" in judge("box", "w:1", here, None, "").remedy


def test_an_image_of_another_dockerfile_is_found_out() -> None:
    assert outdated(image("aa", **{DOCKERFILE_LABEL: "d" * 64}), RECIPE, "w:1") == ""
    assert "the Dockerfile eeeeeeeeeeee" in outdated(
        image("aa", **{DOCKERFILE_LABEL: "e" * 64}), RECIPE, "w:1"
    )
    assert "no Dockerfile of ours" in outdated(image("aa"), RECIPE, "w:1")


async def test_an_agent_without_a_package_cannot_be_added() -> None:
    for name, said in (("generic", "cannot be added"), ("claud", "Did you mean 'claude'")):
        with pytest.raises(UsageError) as refused:
            await build_image(ImageBuild(more_agents=(name,)), print)
        assert said in f"{refused.value.message} {refused.value.hint}"
