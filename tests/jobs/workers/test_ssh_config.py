"""The file for OpenSSH: what the real client makes of it."""

from __future__ import annotations

import asyncio
import getpass
import shutil
import subprocess
from pathlib import Path

from asgiref.sync import sync_to_async
from django.test import TransactionTestCase

from jobs.errors import NotConfigured, UsageError
from jobs.models import Worker
from jobs.transport import pool
from jobs.transport.base import Completed
from jobs.workers import connect, ssh_config, words_for_ssh
from tests.jobs.execution.base import ExecutionTest
from tests.support.sshd import Sshd


class RealClient(ExecutionTest):
    """`ssh -F` on what was written, against real servers."""

    def setUp(self) -> None:
        super().setUp()
        self.gate = self.enterContext(Sshd(self.tmp / "gate"))
        self.inner = self.enterContext(Sshd(self.tmp / "inner"))
        shutil.copy(self.inner.directory / "authorized_keys", self.gate.directory / "authorized_keys")

    def worker(self, name: str, **config: object) -> Worker:
        fields = {"host": "127.0.0.1", "port": self.inner.port, "user": getpass.getuser(),
                  "key": str(self.inner.client_key), **config}  # fmt: skip
        return Worker.objects.create(name=name, provider="ssh", root="/nowhere", config=fields)

    async def write(self, *workers: Worker) -> Path:
        for worker in workers:
            async with connect(worker) as line:  # first contact pins the keys
                await line.transport.run(["true"])
        await pool.aclose_all()
        text = await ssh_config.render(workers, ssh_config.choose_aliases(workers))
        return await asyncio.to_thread(ssh_config.write, text)

    def ssh(self, config: Path, alias: str, *words: str) -> Completed:
        argv = ["ssh", "-F", str(config), "-o", "BatchMode=yes", alias, *words]
        done = subprocess.run(argv, capture_output=True, check=False, timeout=60)
        return Completed(done.returncode, done.stdout, done.stderr)

    async def test_through_a_jump_host_with_pinned_keys_only(self) -> None:
        worker = await sync_to_async(self.worker)("far", jump=f"127.0.0.1:{self.gate.port}")
        config = await self.write(worker)
        done = await asyncio.to_thread(self.ssh, config, "gcli-worker", "echo $SSH_CONNECTION")
        self.assertEqual(done.exit_status, 0, done.stderr)
        self.assertEqual(done.stdout.split()[3], b"%d" % self.inner.port)
        self.assertIn("Accepted publickey", self.gate.log.read_text())

        # A key that changed is refused by the real client too.
        self.inner.stop()
        self.inner.new_host_key()
        self.inner.start()
        done = await asyncio.to_thread(self.ssh, config, "gcli-worker", "true")
        self.assertEqual(done.exit_status, 255)
        self.assertIn(b"Host key verification failed", done.stderr)

    async def test_through_a_proxy_command(self) -> None:
        nc = f"ssh -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile={self.tmp}/k -i " + (
            f"{self.inner.client_key} -p {self.gate.port} -W 127.0.0.1:{self.inner.port} 127.0.0.1"
        )
        worker = await sync_to_async(self.worker)("far", proxy_command=nc)
        config = await self.write(worker)
        done = await asyncio.to_thread(self.ssh, config, "gcli-worker", "echo $SSH_CONNECTION")
        self.assertEqual(done.exit_status, 0, done.stderr)
        self.assertEqual(done.stdout.split()[3], b"%d" % self.inner.port)


class Names(TransactionTestCase):
    def make(self, name: str, **config: object) -> Worker:
        return Worker(name=name, provider="ssh", root="/r", config=config)

    def test_everyone_has_a_name_of_their_own(self) -> None:
        workers = [self.make("a"), self.make("b", alias="gcli-worker"), self.make("c")]
        chosen = ssh_config.choose_aliases(workers)
        self.assertEqual(chosen, {"a": "gcli-a", "b": "gcli-worker", "c": "gcli-c"})
        self.assertEqual(ssh_config.choose_aliases(workers[::2])["a"], "gcli-worker")

    def test_names_that_ssh_would_not_take(self) -> None:
        worker, other = self.make("a"), self.make("b", alias="taken")
        for alias in ("two words", "-o", "*", "a?", "!x", "", "x" * 64, "taken"):
            with self.subTest(alias), self.assertRaises(UsageError):
                ssh_config.check_alias(alias, worker, [other])

    def test_what_is_typed_without_a_name(self) -> None:
        plain = self.make("box", host="box.example", port=22022, user="me", key="/k e y", jump="gate")
        self.assertEqual(words_for_ssh(plain), "-p 22022 -i '/k e y' -J gate me@box.example")
        self.assertEqual(words_for_ssh(self.make("box")), "box")
        self.assertIsNone(words_for_ssh(Worker(name="l", provider="local", config={})))

    def test_paths_that_openssh_cannot_be_told(self) -> None:
        worker = self.make("box", host="127.0.0.1", key='/a"b')
        with self.assertRaises(NotConfigured):
            asyncio.run(ssh_config.render([worker], {"box": "gcli-worker"}))
