"""The real Dockerfile, built by the real command: what is in the image, and what the verbs say of it."""

import asyncio
import contextlib
import io
import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from jobs.errors import CommandFailed, NotConfigured, NotFound, UsageError
from jobs.workers import connect
from jobs.workers.container import lifecycle as containers
from tests.container.base import ContainerTest
from tests.jobs.test_image import cloud_steps, substituted
from tests.support.cli import run_here
from tests.support.docker_engine import DockerEngine
from tests.support.maintainer_image import DEBIAN, DOCKERFILE, MAINTAINER, MaintainerImage, docker

# Cold, the build takes minutes on a slow machine; its own deadline is shorter.
pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def maintainer(docker_engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> MaintainerImage:
    return MaintainerImage(docker_engine, tmp_path_factory.mktemp("home")).make()


@pytest.fixture(scope="class")
def maintainer_of_class(request: pytest.FixtureRequest, maintainer: MaintainerImage) -> None:
    request.cls.maintainer = maintainer


@pytest.fixture(scope="module")
def alone(maintainer: MaintainerImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give an image with nothing in it but /tmux and /terminfo."""
    directory = tmp_path_factory.mktemp("alone")
    made = docker(maintainer.engine, "create", MAINTAINER).strip()
    docker(maintainer.engine, "cp", f"{made}:/opt/offload/.", str(directory))
    docker(maintainer.engine, "rm", made)
    assert sorted(path.name for path in directory.iterdir()) == ["terminfo", "tmux"]
    tar = subprocess.run(["tar", "-C", str(directory), "-c", "."], capture_output=True, check=True).stdout
    docker(maintainer.engine, "import", "-", "offload-test-alone:1", input=tar)
    yield "offload-test-alone:1"
    docker(maintainer.engine, "rmi", "-f", "offload-test-alone:1", code=None)


def argument(name: str) -> str:
    """Return what an ARG of the Dockerfile says."""
    match = re.search(rf"^ARG {name}=(.+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert match is not None
    return match[1]


def test_the_static_tmux_runs_where_there_is_nothing_else(maintainer: MaintainerImage, alone: str) -> None:
    said = maintainer.run("ldd /opt/offload/tmux", code=None)
    assert re.search("not a dynamic executable|statically linked", said)
    run = ["run", "--rm", "--network", "none", "--tmpfs", "/tmp", "--env", "TERM=xterm-256color"]
    waits = ["/tmux", "-S", "/tmp/s", "wait-for", "x"]
    start = ["/tmux", "-u", "-S", "/tmp/s", "new-session", "-d", "-s", "日本", *waits]
    found = ["display-message", "-p", "session #{session_name}, width #{w:session_name}"]
    said = docker(maintainer.engine, *run, alone, *start, ";", *found)
    assert "session 日本, width 4" in said
    draw = ["/tmux", "-S", "/tmp/s", "new-session", "/tmux", "-V"]
    said = docker(maintainer.engine, *run, "--tty", "--env", "TERMINFO=/terminfo", alone, *draw)
    assert "[exited]" in said
    assert "find terminfo database" in docker(maintainer.engine, *run, "--tty", alone, *draw, code=1)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("git --version", r"git version 2\."),
        ("gh --version", r"gh version 2\."),
        ("tmux -V", r"tmux 3\."),
        ("python3 --version", r"Python 3\.(9|1\d)\."),
        ("node --version", rf"^v{re.escape(argument('NODE_VERSION'))}$"),
        ("npm --version", r"^1\d\."),
        ("uv --version", rf"^uv {re.escape(argument('UV_VERSION'))}\b"),
        ("gemini --version", rf"{re.escape(argument('AGENT_VERSION'))}$"),
        ("rg --version", r"ripgrep \d"),
        ("jq --version", r"jq-1"),
        ("ssh -V", r"OpenSSH"),
        ("less --version", r"^less \d"),
        ("ps --version", r"procps"),
        ("make --version", r"GNU Make"),
        ("ls /etc/ssl/certs/ca-certificates.crt", r"crt$"),
    ],
)
def test_a_tool_is_there(maintainer: MaintainerImage, command: str, expected: str) -> None:
    assert re.search(expected, maintainer.run(command), re.MULTILINE)


def test_it_is_small_and_the_agent_is_its_last_big_layer(maintainer: MaintainerImage) -> None:
    found = json.loads(docker(maintainer.engine, "image", "inspect", MAINTAINER))[0]
    assert found["Size"] < 900e6
    history = docker(
        maintainer.engine, "history", "--no-trunc", "--format", "{{.Size}} {{.CreatedBy}}", MAINTAINER
    )
    big = [line for line in history.splitlines() if re.match(r"\d+(\.\d+)?MB", line)]
    assert "/opt/agents" in big[0]


def test_packages_of_the_base_are_named_all_the_same() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE.read_text(), flags=re.MULTILINE)
    [compilers] = [stage for stage in stages if re.match(r"\S+ AS compilers\n", stage)]
    [tools] = [stage for stage in stages if stage.startswith("compilers AS tools\n")]
    assert stages[-1].startswith("tools\n"), "jobs run in what grew from it"
    named = set(re.findall(r"[a-z0-9-]+", compilers + tools))
    assert {"git", "python3", "tmux", "less", "procps", "ca-certificates", "build-essential"} <= named


def test_a_locked_down_container_can_work_and_cannot_change_itself(maintainer: MaintainerImage) -> None:
    said = maintainer.run(
        "id; touch /opt/x; touch /home/maintainer/x; cd /tmp && echo 'int main(void) { return 42; }' > a.c"
        " && gcc -o a a.c; ./a; echo compiled $?;"
        " python3 -m venv --without-pip v && v/bin/python -c 'print(40 + 2)';"
        " command -v sudo; grep NoNewPrivs /proc/self/status"
    )
    assert "uid=1000(maintainer) gid=1000(maintainer)" in said
    assert said.count("Read-only file system") == 2
    assert "compiled 42\n42\nNoNewPrivs:\t1" in said


def test_nothing_in_the_image_raises_privileges_unseen(maintainer: MaintainerImage) -> None:
    found = set(maintainer.run("find / -xdev -perm -4000 -type f 2>/dev/null; true").split())
    usual = {"chfn", "chsh", "gpasswd", "mount", "newgrp", "passwd", "su", "umount", "ssh-keysign"}
    assert {path.rpartition("/")[2] for path in found} <= usual


def test_the_labels_say_what_it_was_built_from(maintainer: MaintainerImage) -> None:
    labels = json.loads(docker(maintainer.engine, "inspect", MAINTAINER))[0]["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == "0.1.0"
    assert labels["org.opencontainers.image.base.digest"] == DEBIAN
    assert re.fullmatch("[0-9a-f]{64}", labels["offload.dockerfile"])
    assert re.fullmatch("[0-9a-f]{40}|unknown", labels["org.opencontainers.image.revision"])
    assert maintainer.built["revision"] == labels["org.opencontainers.image.revision"]


def test_the_cloud_build_gives_three_tags(maintainer: MaintainerImage) -> None:
    docker(maintainer.engine, "tag", MAINTAINER, "registry.test/worker:latest")
    [script] = [step["args"][1] for step in cloud_steps() if step["id"] == "tag"]
    values = {"_IMAGE": "registry.test/worker", "BRANCH_NAME": "-topic/some thing"}
    done = subprocess.run(
        ["bash", "-ceu", substituted(script, values)],
        env={**maintainer.cli.env, "DOCKER_HOST": maintainer.engine.command[-1]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tags = set(docker(maintainer.engine, "images", "registry.test/worker", "--format", "{{.Tag}}").split())
    assert tags == {"latest", "topic-some-thing", maintainer.built["id"].replace(":", "-")}


@pytest.mark.usefixtures("maintainer_of_class", "alone")
class TheVerbs(ContainerTest):
    maintainer: MaintainerImage

    async def verb(self, what: str, **options: Any) -> tuple[int, dict[str, Any]]:
        """Call the command behind `fleet image`; return its exit code and its data."""
        name = options.pop("name", None)
        given = {
            "image": MAINTAINER,
            "engine": " ".join(self.engine.command),
            "base": DEBIAN,
            "network": "host",
        }
        words = [word for key, value in {**given, **options}.items() for word in (f"--{key}", value)]
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = await run_here("fleet", "image", what, *([name] if name else []), *words, "--json")
        return code, json.loads(out.getvalue())["image"]

    async def test_building_again_uses_the_cache_and_gives_the_same_image(self) -> None:
        # Another commit may be current by now: then the labels differ, and nothing else.
        again = await asyncio.to_thread(self.maintainer.build, "offload-test-again:1")
        self.addCleanup(self.docker, "rmi", "offload-test-again:1")
        self.assertLess(again["seconds"], 60)
        first, second = (self.inspected(name) for name in (MAINTAINER, "offload-test-again:1"))
        self.assertEqual(first["RootFS"]["Layers"], second["RootFS"]["Layers"])

    async def test_check_compares_with_what_the_container_runs(self) -> None:
        box = await self._box(MAINTAINER)
        async with connect(box) as line:
            assert line.container is not None
            await containers.ensure(line.transport, line.layout, line.container, is_idle=True)
        code, data = await self.verb("check", name="own")
        self.assertEqual(code, 0, data)
        [seen] = data["workers"]
        self.assertEqual(seen["runs"], self.maintainer.built["id"])
        self.assertTrue(seen["matches"])
        # The name moves on; the container still runs what it was made from.
        name = "offload-test-moving:1"
        self.docker("tag", MAINTAINER, name)
        box.config["container"]["image"] = name
        await box.asave()
        self.docker("tag", "offload-test-alone:1", name)
        self.addCleanup(self.docker, "rmi", name)
        code, data = await self.verb("check", name="own")
        self.assertEqual(code, NotConfigured.exit_code)
        self.assertIn(self.maintainer.built["id"], data["workers"][0]["problem"])
        code, data = await self.verb("check", name="own", image=name)
        self.assertIn("runs", data["workers"][0]["problem"])

    async def _box(self, image: str) -> Any:
        return await sync_to_async(self.worker)("own", self.container(image=image))

    async def test_check_says_what_is_missing(self) -> None:
        await self._box("no-such-image:1")
        code, data = await self.verb("check", name="own")
        self.assertEqual(code, NotConfigured.exit_code)
        self.assertEqual(data["workers"][0]["problem"], "own has no image no-such-image:1.")
        with self.assertRaisesRegex(NotConfigured, "no image no-such-image:1 on this machine"):
            await self.verb("check", image="no-such-image:1")
        with self.assertRaisesRegex(NotFound, "missing"):
            await self.verb("check", name="missing")

    async def test_check_finds_an_image_of_another_dockerfile(self) -> None:
        code, data = await self.verb("check", image=DEBIAN)
        self.assertEqual(code, NotConfigured.exit_code)
        self.assertIn("no Dockerfile of ours", data["problem"])

    async def test_a_build_that_fails_shows_its_last_lines_and_leaves_nothing(self) -> None:
        with self.assertRaises(CommandFailed) as caught:
            await self.verb("build", image="offload-test-broken:1", base="offload-test-alone:1")
        self.assertIn("/bin/sh", caught.exception.message)
        self.assertEqual(self.docker("images", "--quiet", "offload-test-broken:1"), "")

    async def test_what_is_missing_for_a_build_is_named(self) -> None:
        with self.assertRaisesRegex(NotConfigured, "base image localhost:1/none:1"):
            await self.verb("build", base="localhost:1/none:1")
        with self.assertRaisesRegex(NotConfigured, "no container engine"):
            await self.verb("build", engine="/no/such/docker")
        with self.assertRaisesRegex(UsageError, "takes no worker"):
            await self.verb("build", name="own")
