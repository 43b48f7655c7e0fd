"""Jobs inside the worker's container: the same results, ended for certain, and never in each other's way."""

import asyncio
import getpass
import hashlib
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings

from jobs import execution, workers
from jobs.errors import NotConfigured, NotFound, WorkerUnavailable
from jobs.models import Job, Worker
from jobs.operations import check_agents
from jobs.states import JobState
from jobs.workers import connect
from jobs.workers.container.check import check_container
from tests.container.base import ContainerTest
from tests.jobs.execution.base import DEADLINE, until
from tests.jobs.execution.test_workers import Screen
from tests.support.offload_home import worker_root
from tests.support.sshd import Sshd

OWN_PORT_AND_SECRET = """
ports = ["PORT"]
[secrets]
test = ["DEPLOY_TOKEN"]
"""
# Each listens on its port and leaves its marks, and looks at them again when all eight have.
MEETING = """
echo $HOME $TMPDIR; echo $ME > $HOME/mark; echo $ME > $TMPDIR/mark; echo $ME > mark
echo token of ${#DEPLOY_TOKEN} letters
python3 -c 'if True:
    import glob, os, socket, time
    server = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
    print("listens on", os.environ["PORT"], flush=True)
    open("$ALL/$ME.here", "w").close()
    while len(glob.glob("$ALL/*.here")) < 8:
        time.sleep(0.05)
'
cat $HOME/mark $TMPDIR/mark mark
"""


def kept_for(root: Path) -> list[Path]:
    """Return the files that are kept in the host's memory for jobs of a root."""
    folder = hashlib.sha256(os.fsencode(str(root))).hexdigest()[:16]
    places = (Path(f"/run/user/{os.getuid()}/offload"), Path(f"/dev/shm/offload-{os.getuid()}"))
    return [path for place in places for path in (place / folder).glob("*")]


async def log_of(job: Job, task: str) -> str:
    async with connect(job.worker) as connection:
        return (await connection.client.log(job.session, task)).decode()


async def begun(job: Job) -> bool:
    try:
        return "begun" in await log_of(job, "test")
    except NotFound:
        return False


class Running(ContainerTest):
    async def test_a_review_runs_inside_and_nothing_is_left(self) -> None:
        job = await self.run_job()
        self.assertEqual((job.state, job.verdict), (JobState.SUCCEEDED, "pass"))
        self.assertEqual(job.image, self.inspected()["Image"])
        self.assertEqual((self.root / "worktrees" / job.session).stat().st_uid, 1000)
        await execution.remove(job.id, force=True)
        self.assertEqual(await asyncio.to_thread(self.processes), [])
        self.assertEqual(sorted(p.name for p in (self.root / "jobs").iterdir()), [])
        self.assertEqual(sorted(p.name for p in (self.root / "worktrees").iterdir()), [])

    async def test_what_the_container_may_do_is_what_the_design_says(self) -> None:
        await self.run_job()
        found = self.inspected()
        host = found["HostConfig"]
        self.assertTrue(host["ReadonlyRootfs"])
        self.assertEqual((host["CapDrop"], host["Privileged"], host["Init"]), (["ALL"], False, True))
        self.assertEqual(host["RestartPolicy"]["Name"], "always")
        self.assertIn("no-new-privileges", host["SecurityOpt"])
        self.assertIn("OFFLOAD_USER=1000:1000", found["Config"]["Env"])
        self.assertFalse([mount for mount in found["Mounts"] if "docker.sock" in mount["Source"]])
        script = (
            f"touch /x {self.root}/bin/x {self.root}/repos/x; echo $?;"
            f"touch /tmp/x {self.root}/caches/x && echo written; id -u; grep CapPrm /proc/self/status"
        )
        said = self.docker("exec", "-u", "1000", self.name, "sh", "-c", script)
        self.assertEqual(said.count("Read-only file system"), 3)
        self.assertIn("written\n1000\nCapPrm:\t0000000000000000\n", said)
        self.assertEqual({name.removeprefix("CAP_") for name in host["CapAdd"]}, {"KILL", "SETGID", "SETUID"})

    async def test_cancel_ends_what_ignores_it(self) -> None:
        stubborn = "trap '' TERM HUP; echo begun; setsid sh -c \"trap '' TERM; sleep 300\" & sleep 300\n"
        self.shop.pull(3, {"test.sh": stubborn})
        job = await self.submit("3")
        await execution.launch(job.id)
        await until(lambda: begun(job))
        job = await execution.cancel(job.id, "tester")
        self.assertEqual(job.state, JobState.CANCELLED)
        self.assertFalse([line for line in self.processes() if "sleep 300" in line or "test.sh" in line])

    async def test_the_side_shell_is_inside_and_goes_with_the_job(self) -> None:
        job = await self.run_job()
        screen = Screen()
        pty = await workers.open_terminal(
            workers.TerminalRequest(job.id, kind="shell"), screen, workers.Size(100, 30)
        )
        await until(lambda: b"$" in screen.data)
        pty.write(b"id -u; pwd; sleep 299 & echo mark-$((40+2))\n")
        await until(lambda: b"mark-42" in screen.data)
        self.assertIn(b"1000", screen.data)
        self.assertIn(job.session.encode(), screen.data)
        with self.assertRaisesRegex(NotFound, "no commit of its own"):
            await execution.read_commits(job.id)
        commit = "git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x"
        pty.write(f"{commit}; git rev-parse HEAD; echo mark-$((41+2))\n".encode())
        await until(lambda: b"mark-43" in screen.data)
        tip = re.findall(rb"[0-9a-f]{40}", screen.data)[-1]
        self.assertIn(b"\n" + tip + b" HEAD\n", await execution.read_commits(job.id))
        await pty.aclose()
        await execution.remove(job.id, force=True)
        await until(lambda: asyncio.to_thread(lambda: not self.processes()))
        with self.assertRaises(NotFound):
            await workers.read_session(job.id, "shell")

    async def test_eight_jobs_do_not_see_each_other(self) -> None:
        await asyncio.to_thread(execution.secret_store().set, "DEPLOY_TOKEN", "a-token-of-eight-5b1e")
        await asyncio.to_thread(self.shop.commit, {".offload/config.toml": OWN_PORT_AND_SECRET})
        numbers = range(11, 19)
        jobs = []
        for number in numbers:
            script = MEETING.replace("$ME", f"job-{number}").replace("$ALL", str(self.root / "caches"))
            await asyncio.to_thread(self.shop.pull, number, {"test.sh": script})
            jobs.append(await self.submit(str(number), secrets=("DEPLOY_TOKEN",)))
        await asyncio.gather(*(execution.launch(job.id) for job in jobs))
        places, ports = set(), set()
        for number, job in zip(numbers, jobs, strict=True):
            ended = await execution.wait(job.id, timeout=DEADLINE * 2)
            self.assertEqual(ended.state, JobState.SUCCEEDED)
            log = await log_of(ended, "test")
            self.assertEqual(re.findall(r"job-\d+", log)[-3:], [f"job-{number}"] * 3)
            self.assertIn("token of 21 letters", log)
            places.update(re.findall(r"/\S+/home/\S+", log))
            ports.update(re.findall(r"listens on (\d+)", log))
        self.assertEqual((len(places), len(ports)), (16, 8))
        await asyncio.gather(*(execution.remove(job.id, force=True) for job in jobs))
        self.assertEqual(await asyncio.to_thread(self.processes), [])
        self.assertEqual(list((self.root / "worktrees").iterdir()), [])
        self.assertEqual([p.name for p in (self.root / "jobs").iterdir() if p.is_dir()], [])
        in_memory = ("exec", self.name, "find", "/run", "/dev/shm", "-type", "f")
        self.assertEqual(await asyncio.to_thread(self.docker, *in_memory), "")
        self.assertEqual([str(path) for path in kept_for(self.root)], [], "nor on the host, for recorders")
        await until(lambda: not self.inspected()["ExecIDs"])


class Faults(ContainerTest):
    async def test_a_restarted_container_interrupts_and_the_same_command_resumes(self) -> None:
        job = await self.slow_job()
        await until(lambda: begun(job))
        await asyncio.to_thread(self.docker, "restart", "-t", "0", self.name)
        await self._resumes(job)

    async def test_a_restarted_engine_interrupts_and_the_same_command_resumes(self) -> None:
        job = await self.slow_job()
        await until(lambda: begun(job))
        await asyncio.to_thread(self.engine.restart)
        await self._resumes(job)

    async def test_a_killed_tmux_server_interrupts_and_the_same_command_resumes(self) -> None:
        job = await self.slow_job()
        await until(lambda: begun(job))
        async with connect(job.worker) as connection:
            await connection.transport.run(connection.layout.tmux_argv("kill-server"))
        await self._resumes(job)

    async def _resumes(self, job: Job) -> None:
        async def state() -> str:
            await execution.refresh_worker(job.worker_id)
            return str((await workers.get_job(job.id)).state)

        async def interrupted() -> bool:
            return await state() == JobState.INTERRUPTED

        await until(interrupted, deadline=10.0)
        (Path(job.worktree or self.root / "worktrees" / job.session) / "go").write_text("")
        await execution.launch(job.id)
        ended = await execution.wait(job.id, timeout=DEADLINE)
        self.assertEqual(ended.state, JobState.SUCCEEDED)
        attempts = [task["id"] for task in ended.tasks if task["state"] == "succeeded"]
        self.assertIn("test", attempts)
        await until(lambda: asyncio.to_thread(lambda: not [p for p in self.processes() if "sleep 300" in p]))

    async def test_a_removed_container_still_lets_a_job_be_cancelled(self) -> None:
        job = await self.slow_job()
        await until(lambda: begun(job))
        await asyncio.to_thread(self.docker, "rm", "-f", self.name)
        job = await execution.cancel(job.id, "tester")
        self.assertEqual(job.state, JobState.CANCELLED)


class Verifying(ContainerTest):
    async def _ids(self) -> tuple[str, Job]:
        job = await self.run_job()
        return str(self.inspected()["Id"]), job

    async def test_a_container_is_kept_from_job_to_job(self) -> None:
        first, _ = await self._ids()
        self.shop.pull(4, {"app.txt": "three\n"})
        await self.run_job("4")
        self.assertEqual(self.inspected()["Id"], first)

    async def test_a_container_with_a_writable_root_is_made_anew_when_idle(self) -> None:
        self.docker(
            "run", "-d", "--name", self.name, "--network", "host", self.engine.image, "sleep", "infinity"
        )
        first = self.inspected()["Id"]
        await self.run_job()
        self.assertNotEqual(self.inspected()["Id"], first)
        self.assertTrue(self.inspected()["HostConfig"]["ReadonlyRootfs"])

    async def test_a_container_with_a_writable_root_is_refused_while_jobs_run(self) -> None:
        job = await self.slow_job()
        await until(lambda: begun(job))
        self.docker("rm", "-f", self.name)
        self.docker(
            "run", "-d", "--name", self.name, "--network", "host", self.engine.image, "sleep", "infinity"
        )
        other = await self.submit("1")
        with self.assertRaisesRegex(WorkerUnavailable, "root file system is writable"):
            await execution.launch(other.id)

    async def test_a_container_that_runs_for_another_worker_is_left_alone(self) -> None:
        words = ["--label", "offload.root=/srv/other", "--network", "host", self.engine.image]
        self.docker("run", "-d", "--name", self.name, *words, "sleep", "infinity")
        first = self.inspected()["Id"]
        job = await self.submit("1")
        with self.assertRaisesRegex(NotConfigured, "runs for another worker, whose root is /srv/other"):
            await execution.launch(job.id)
        self.assertEqual(self.inspected()["Id"], first)

    async def test_a_stale_image_waits_for_running_jobs(self) -> None:
        job = await self.slow_job()
        await until(lambda: begun(job))
        first = self.inspected()
        fresh = f"{self.name}:fresh"
        self.docker("commit", "-m", "newer", self.name, fresh)
        self.addCleanup(self.docker, "rmi", "-f", fresh)
        await Worker.objects.filter(id=self.box.id).aupdate(config={"container": self.container(image=fresh)})
        other = await self.run_job("1")
        self.assertEqual(self.inspected()["Id"], first["Id"])
        self.assertEqual(other.image, first["Image"])
        await execution.cancel(job.id, "tester")
        self.shop.pull(5, {"app.txt": "five\n"})
        last = await self.run_job("5")
        self.assertNotEqual(self.inspected()["Id"], first["Id"])
        self.assertNotEqual(last.image, first["Image"])

    async def test_a_missing_image_and_a_missing_engine_say_what_to_do(self) -> None:
        for container, words in (
            (self.container(image="nowhere:1"), "nowhere:1 is not on the worker"),
            (self.container(engine=["no-such-engine"]), "no-such-engine"),
            (self.container(engine=["docker", "-H", "unix:///nowhere.sock"]), "does not answer"),
        ):
            await Worker.objects.filter(id=self.box.id).aupdate(config={"container": container})
            with self.subTest(words), self.assertRaisesRegex((NotConfigured, WorkerUnavailable), words):
                job = await self.submit("1", name=f"n{abs(hash(words)) % 1000}")
                await execution.launch(job.id)
        self.assertIn("No such", self.docker("inspect", self.name))


class Checking(ContainerTest):
    async def _said(self) -> dict[str, tuple[str, str]]:
        async with connect(self.box) as connection:
            assert connection.container is not None
            problems = await check_container(connection.transport, connection.container)
        return {problem.subject: (problem.severity.value, problem.detail) for problem in problems}

    async def test_doctor_sees_the_engine_the_image_and_the_container(self) -> None:
        self.assertIn("not there yet", (await self._said())["container"][1])
        await self.run_job()
        self.assertEqual((await self._said())["container"][0], "pass")
        self.docker("stop", "-t", "0", self.name)
        self.assertIn("does not run", (await self._said())["container"][1])
        self.docker("rm", "-f", self.name)
        self.docker("run", "-d", "--name", self.name, "--network", "host", self.engine.image, "sleep", "9")
        severity, text = (await self._said())["container"]
        self.assertEqual(severity, "fail")
        self.assertIn("its root file system is writable", text)

    async def test_doctor_looks_for_agents_in_the_image(self) -> None:
        config = settings.OFFLOAD
        with self.settings(OFFLOAD=replace(config, values={**config.values, "agent_command": "sleep 1"})):
            problems = await check_agents([self.box])
        gemini, generic = problems[0], problems[-1]
        self.assertEqual(gemini.severity.value, "warn", gemini)
        self.assertIn(f"There is no gemini in the image {self.engine.image}.", gemini.detail)
        self.assertIn("fleet image build", gemini.remedy)
        self.assertEqual(generic.severity.value, "pass", generic)
        self.assertIn("bin/sleep; its version is not asked for.", generic.detail)
        self.assertNotIn(self.name, self.docker("ps", "--all", "--format", "{{.Names}}"))


class OnePerJob(ContainerTest):
    isolation = "job"

    async def test_a_job_has_a_container_of_its_own(self) -> None:
        job = await self.slow_job()
        await until(lambda: begun(job))
        own = f"{self.name}-{job.session}"
        mounts = [mount["Destination"] for mount in self.inspected(own)["Mounts"]]
        self.assertIn(str(self.root / "worktrees" / job.session), mounts)
        self.assertFalse([path for path in mounts if path.startswith(str(self.root / "jobs"))])
        self.assertTrue([line for line in self.processes(own) if "sleep 300" in line])
        job = await execution.cancel(job.id, "tester")
        self.assertEqual(job.state, JobState.CANCELLED)
        await execution.remove(job.id, force=True)
        self.assertIn("No such", self.docker("inspect", own))


class Parity(ContainerTest):
    async def test_one_job_gives_the_same_on_each_kind_of_worker(self) -> None:
        sshd = await asyncio.to_thread(Sshd(self.tmp / "sshd").start)
        self.addCleanup(sshd.stop)
        far = {
            "provider": "ssh", "host": "127.0.0.1", "port": sshd.port, "user": getpass.getuser(),
            "key": str(sshd.client_key), "known_hosts": str(sshd.known_hosts),
            "python": sys.executable, "tmux_socket": f"{self.name}-far",
        }  # fmt: skip
        self.shop.pull(6, {"test.sh": "exit 3\n"})
        root = await asyncio.to_thread(
            self.enterContext, worker_root(self.tmp / "r", str(self.tmp / "other"))
        )
        await asyncio.to_thread(self.worker, "bare", None, root=str(root))
        await asyncio.to_thread(self.worker, "far", self.container(), **far)

        async def result(worker: str, number: str) -> tuple[Any, ...]:
            job = await self.run_job(number, worker=worker, name=f"on-{worker}")
            tasks = [(task["id"], task["state"], task["exit_code"]) for task in job.tasks]
            return (number, job.state, job.verdict, tasks)

        wanted = [(worker, number) for worker in ("bare", "box", "far") for number in ("1", "6")]
        try:
            results = await asyncio.gather(*(result(*one) for one in wanted))
        finally:
            await workers.close_lines()
        self.assertEqual(results[0:2], results[2:4])
        self.assertEqual(results[0:2], results[4:6])
        self.assertEqual([result[2] for result in results[:2]], ["pass", "fail"])
