"""Images of a registry: pulled and compared by digest, and refused with the reason when there is none."""

import contextlib
import hashlib
import io
import json
import subprocess
import tarfile
from typing import Any

import pytest
from django.conf import settings

from jobs.errors import NotConfigured
from jobs.models import Worker
from jobs.workers import connect
from jobs.workers.container.engine import Engine, name_of
from jobs.workers.container.image import DOCKERFILE, DOCKERFILE_LABEL
from jobs.workers.container.lifecycle import image_of
from tests.container.base import ContainerTest
from tests.support.cli import run_here
from tests.support.registry import Registry, registry_program


class FromARegistry(ContainerTest):
    def setUp(self) -> None:
        super().setUp()
        program = registry_program()
        if program is None:
            pytest.skip("There is neither docker-registry nor apt-get on this machine.")
        store = self.tmp / "registry"
        store.mkdir()
        self.pushed_name = f"{self.enterContext(Registry(program, store)).address}/team/worker"

    def pushed(self, content: bytes) -> str:
        """Make an image as small as can be, push it as `latest`, and return its name by digest."""
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            member = tarfile.TarInfo("content")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        dockerfile = hashlib.sha256((settings.BASE_DIR / DOCKERFILE).read_bytes()).hexdigest()
        change = f"LABEL {DOCKERFILE_LABEL}={dockerfile}"
        command = [*self.engine.command, "import", "--change", change, "-", f"{self.pushed_name}:latest"]
        subprocess.run(command, input=tar.getvalue(), check=True, capture_output=True)
        self.assertIn("digest: sha256:", self.docker("push", f"{self.pushed_name}:latest"))
        return str(self.inspected(f"{self.pushed_name}:latest")["RepoDigests"][0])

    async def check(self) -> tuple[int, dict[str, Any]]:
        out = io.StringIO()
        options = ("--image", f"{self.pushed_name}:latest", "--engine", " ".join(self.engine.command))
        with contextlib.redirect_stdout(out):
            code = await run_here("fleet", "image", "check", "box", *options, "--json")
        return code, json.loads(out.getvalue())["image"]

    async def use(self, image: str) -> None:
        config = {"container": self.container(image=image)}
        await Worker.objects.filter(id=self.box.id).aupdate(config=config)
        self.box = await Worker.objects.aget(id=self.box.id)

    async def pull(self) -> str:
        async with connect(self.box) as line:
            assert line.container is not None
            return name_of(await image_of(Engine(line.transport, line.container), line.container))

    async def test_a_worker_pulls_by_digest_and_check_compares_digests(self) -> None:
        first = self.pushed(b"one")
        self.docker("rmi", "-f", f"{self.pushed_name}:latest", first)
        self.assertIn("No such image", self.docker("inspect", "--type", "image", first))
        await self.use(first)
        self.assertEqual(await self.pull(), first)

        self.docker("tag", first, f"{self.pushed_name}:latest")
        code, data = await self.check()
        self.assertEqual((code, data["digest"], data["problem"]), (0, first, None))
        self.assertEqual(data["workers"][0]["image"]["digest"], first)

        second = self.pushed(b"two")
        code, data = await self.check()
        self.assertEqual(code, NotConfigured.exit_code)
        said = data["workers"][0]["problem"]
        self.assertEqual(said, f"box has {first} as {first}, and here it is {second}.")

        # A digest that was never pushed, and a registry that is not there.
        wrong = f"{self.pushed_name}@sha256:{'0' * 64}"
        for image, why in ((wrong, "manifest unknown"), ("127.0.0.1:1/team/worker:latest", "refused")):
            await self.use(image)
            with self.assertRaises(NotConfigured) as refused:
                await self.pull()
            self.assertIn(
                f"The image {image} is not on the worker. Pulling it failed: ", str(refused.exception)
            )
            self.assertIn(why, str(refused.exception))
