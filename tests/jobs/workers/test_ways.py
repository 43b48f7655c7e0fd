"""Several ways to one machine: a dead line leads to the next way, a no never does; what answered is kept."""

from __future__ import annotations

import asyncio
import getpass
import socket
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from django.conf import settings
from django.test import TransactionTestCase

from jobs.errors import AuthRefused, ConnectFailed, HostKeyMismatch, MachineDown, OffloadError
from jobs.models import Worker
from jobs.simulator.connect import tunnel
from jobs.simulator.machines import SshdMachines
from jobs.transport import pool
from jobs.workers import connect, connection, ssh_config, words_for_ssh
from jobs.workers.connection import provider_of
from jobs.workers.published_keys import pin_published
from tests.support.gce_server import Simulator, config, endpoint
from tests.support.sshd import make_key


class Ways(TransactionTestCase):
    def setUp(self) -> None:
        self.tmp = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(self.settings(OFFLOAD=replace(settings.OFFLOAD, home=self.tmp)))
        self.key = make_key(self.tmp / "key")
        self.machines = SshdMachines(self.tmp / "machines", Path(f"{self.key}.pub").read_text())
        self.addCleanup(self.machines.stop_all)
        self.simulator = self.enterContext(endpoint(Simulator(machines=self.machines)))
        self.calls = self.tmp / "calls"

    def dying(self, words: str) -> list[str]:
        """A tunnel that says something and ends."""
        return ["sh", "-c", f'echo called >> {self.calls}; echo "{words}" >&2; exit 1']

    @property
    def called(self) -> int:
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0

    async def worker(self, **more: Any) -> Worker:
        """A worker with a machine that runs, reached inside its network at this machine's loopback."""
        wanted = config(key=str(self.key), user=getpass.getuser(), host_pattern="127.0.0.1", **more)
        worker = await Worker.objects.acreate(name="box", provider="gce-cos", root="/r", config=wanted)
        await provider_of(worker).create({"machine_type": "e2-standard-2"}, "box")
        await self.instance(worker)  # it runs when it is looked at
        port = self.machines.port("box")
        if "internal" in str(more["strategy"]):
            worker.config = {**wanted, "port": port}
            await Worker.objects.filter(id=worker.id).aupdate(config=worker.config)
        await self.pin(worker)
        return worker

    async def pin(self, worker: Worker, *, wrong: str = "") -> None:
        endpoint: Any = provider_of(worker).endpoint(await self.instance(worker))
        pin_published(endpoint, [wrong or (self.tmp / "machines/box/host_key.pub").read_text()])

    async def talk(self, worker: Worker) -> None:
        try:
            async with connect(await Worker.objects.aget(id=worker.id)) as line:
                done = await line.transport.run(["echo", "hi"])
                self.assertEqual(done.stdout, b"hi\n")
        finally:
            await pool.aclose_all()

    async def way(self) -> str | None:
        way: str | None = (await Worker.objects.aget(name="box")).facts.get("way")
        return way

    async def asked(self) -> int:
        """Talk; return how many requests the provider got meanwhile."""
        before = len(self.simulator.requests)
        await self.talk(await Worker.objects.aget(name="box"))
        return len(self.simulator.requests) - before

    async def test_a_provider_is_not_asked_for_an_address_that_is_known_and_answers(self) -> None:
        worker = await self.worker(strategy="internal")
        await Worker.objects.filter(id=worker.id).aupdate(state="ready")
        self.assertGreater(await self.asked(), 0)
        self.assertEqual(await self.asked(), 0)
        # Another machine answers there: its key is not the one that is pinned for the id that is known.
        address = (await Worker.objects.aget(id=worker.id)).facts["address"]
        known = provider_of(worker).endpoint(await self.instance(worker)).known_hosts  # type: ignore[union-attr]
        other = " ".join(Path(f"{make_key(self.tmp / 'other')}.pub").read_text().split()[:2])
        name = f"[compute.999]:{worker.config['port']}"
        with known.open("a") as file:
            file.write(f"{name} {other}\n")
        await Worker.objects.filter(id=worker.id).aupdate(facts={"address": {**address, "id": "999"}})
        self.assertGreater(await self.asked(), 0)
        self.assertEqual((await Worker.objects.aget(id=worker.id)).facts["address"], address)
        self.assertEqual(await self.asked(), 0)
        # It does not answer: the provider says that it is down, at once.
        await provider_of(worker).stop("box")
        self.simulator.settle()
        with self.assertRaises(MachineDown):
            await self.talk(worker)

    async def test_a_machine_that_takes_every_packet_and_answers_none_is_asked_for(self) -> None:
        silent = socket.create_server(("127.0.0.1", 0), backlog=8)
        self.addCleanup(silent.close)
        worker = await self.worker(strategy="internal")
        await self.talk(worker)  # the address is saved
        config = {**worker.config, "port": silent.getsockname()[1]}
        await Worker.objects.filter(id=worker.id).aupdate(state="ready", config=config)
        await provider_of(worker).stop("box")
        self.simulator.settle()
        self.enterContext(mock.patch.object(connection, "SLOW_SECONDS", 0.2))
        with self.assertRaises(MachineDown):
            await self.talk(worker)

    async def test_a_dead_way_leads_to_the_next_which_is_remembered(self) -> None:
        dead = self.dying("ERROR: [4003: failed to connect to backend]")
        worker = await self.worker(strategy="iap, internal", tunnel=dead)
        with self.assertLogs("offload.workers", "WARNING") as logs:
            await self.talk(worker)
        self.assertEqual((await self.way(), self.called), ("internal", 1))
        self.assertIn("box is reached by internal after iap", logs.output[0])
        self.assertIn("4003: failed to connect to backend", logs.output[0])
        with self.assertNoLogs("offload.workers"):
            await self.talk(worker)
        self.assertEqual(self.called, 1)  # what answered is tried first

    async def test_a_remembered_way_that_died_leads_back(self) -> None:
        worker = await self.worker(strategy=["iap", "internal"], tunnel=tunnel(self.tmp / "machines"))
        # Nothing listens at port 1; the tunnel finds its own way.
        broken = {**worker.config, "port": 1}
        await Worker.objects.filter(id=worker.id).aupdate(config=broken, facts={"way": "internal"})
        worker = await Worker.objects.aget(id=worker.id)
        await self.pin(worker)
        with self.assertLogs("offload.workers", "WARNING"):
            await self.talk(worker)
        self.assertEqual(await self.way(), "iap")

    async def test_a_no_from_the_tunnel_is_permission_and_no_broken_line(self) -> None:
        words = "ERROR: (gcloud.compute.start-iap-tunnel) Error while connecting [4033: not authorized]."
        worker = await self.worker(strategy="auto", tunnel=self.dying(words))
        with self.assertRaises(AuthRefused) as caught:
            await self.talk(worker)
        self.assertIn("[4033: not authorized]", caught.exception.message)
        self.assertIn("roles/iap.tunnelResourceAccessor", caught.exception.hint)
        self.assertIsNone(await self.way())

    async def test_another_host_key_ends_the_search(self) -> None:
        worker = await self.worker(strategy="iap,internal", tunnel=tunnel(self.tmp / "machines"))
        known = provider_of(worker).endpoint(await self.instance(worker)).known_hosts  # type: ignore[union-attr]
        known.unlink()
        other = make_key(self.tmp / "other")
        await self.pin(worker, wrong=" ".join(Path(f"{other}.pub").read_text().split()[:2]))
        with self.assertRaises(HostKeyMismatch):
            await self.talk(worker)
        self.assertIsNone(await self.way())

    async def instance(self, worker: Worker) -> Any:
        return await provider_of(worker).get("box")

    async def test_a_key_that_is_not_taken_ends_the_search(self) -> None:
        worker = await self.worker(strategy="iap,internal", tunnel=tunnel(self.tmp / "machines"))
        stranger = {**worker.config, "key": str(make_key(self.tmp / "stranger"))}
        await Worker.objects.filter(id=worker.id).aupdate(config=stranger)
        with self.assertRaises(AuthRefused):
            await self.talk(worker)
        self.assertIsNone(await self.way())

    async def test_no_way_names_each(self) -> None:
        worker = await self.worker(strategy="iap,internal", tunnel=[str(self.tmp / "no-such-gcloud")])
        dead = {**worker.config, "port": 1}
        await Worker.objects.filter(id=worker.id).aupdate(config=dead)
        with self.assertRaisesRegex(
            ConnectFailed, r"iap: .*no program .*no-such-gcloud.* internal: "
        ) as caught:
            await self.talk(worker)
        self.assertTrue(caught.exception.retryable)

    async def test_one_way_says_what_its_tunnel_said(self) -> None:
        for words, kind, hint in (
            ("ERROR: [4003: failed to connect to backend]", ConnectFailed, "35.235.240.0/20"),
            ("ERROR: [4047: Failed to lookup instance]", ConnectFailed, "fleet ls"),
            ("ERROR: Error while connecting [4010: 'destination read failed'].", ConnectFailed, "hung up"),
            ("Reauthentication failed. Please run gcloud auth login", AuthRefused, "gcloud auth login"),
            ("ERROR: refreshing your current auth tokens: Max retries exceeded", ConnectFailed, "online"),
            ("Segmentation fault", ConnectFailed, "by hand"),
        ):
            with self.subTest(words):
                await Worker.objects.all().adelete()
                worker = await self.worker(strategy="iap", tunnel=self.dying(words))
                with self.assertRaises(OffloadError) as caught:
                    await self.talk(worker)
                self.assertIs(type(caught.exception), kind)
                self.assertIn(words, caught.exception.message)
                self.assertIn(hint, caught.exception.hint)

    async def test_what_a_tunnel_says_is_no_part_of_the_line(self) -> None:
        chatty = "print('NumPy would be faster', file=sys.stderr, flush=True)"
        where = str(self.tmp / "machines")
        carry = f"from jobs.simulator import connect as c; c.main({where!r}, 'box')"
        run = f"import sys; {chatty}; {carry}"
        worker = await self.worker(strategy="iap", tunnel=[sys.executable, "-c", run])
        await self.talk(worker)

    async def test_published_keys_are_found_by_a_way_with_an_address(self) -> None:
        worker = await self.worker(strategy="internal")
        await self.talk(worker)

    async def test_the_real_client_gets_in_by_the_way_that_answered(self) -> None:
        worker = await self.worker(strategy="iap", tunnel=tunnel(self.tmp / "machines"))
        self.assertIn("ProxyCommand=", words_for_ssh(worker) or "")
        path = self.tmp / "ssh_config"
        path.write_text(await ssh_config.render([worker], {"box": "gcli-worker"}))
        argv = ["ssh", "-F", str(path), "-o", "BatchMode=yes", "gcli-worker", "echo", "hi"]
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, timeout=60)
        self.assertEqual((done.returncode, done.stdout), (0, b"hi\n"), done.stderr)
        await provider_of(worker).delete("box")
        self.assertIn("# It has no machine now.", await ssh_config.render([worker], {"box": "gcli-worker"}))
