"""A home made by an earlier version works after the migrations.

`home_before_requests.sql` is a dump of a database that the version before `WorkerRequest` wrote: jobs at
work, a machine kept up, requests pending, a rebuild and a deletion half done. `home_before_facts.sql` is the
same home one version later, before `Worker.facts`.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import ROOT, Cli

# The machines are in this process's memory, so what concerns them happens in one process.
CARRY_OUT = """
import asyncio, json, sys
import django
django.setup()
from jobs import serializers
from jobs.execution.requests import carry_out
from jobs.models import Job, Worker, WorkerRequest
from jobs.providers.base import Instance, InstanceState
from jobs.workers import fleet, idle
from jobs.workers.requests import latest_failure, open_requests
from jobs.workers.settings_schema import check_settings
from tests.support import memory_cloud

cloud = memory_cloud.cloud("upgrade")
cloud.pace = 1
for name in ("kept", "asked", "half", "gone", "failed"):
    cloud.instances[name] = Instance(name, InstanceState.RUNNING, "", {"size": "small", "zone": "zone-a"})

async def main():
    jobs = Job.objects.select_related("repository", "worker").order_by("id")
    shown = [serializers.job_json(job) async for job in jobs]
    said = {"before": [[one["target"], one["state"]] for one in shown]}
    said["open"] = sorted([[r.worker.name, r.kind, r.actor, r.step]
                           async for r in open_requests().select_related("worker")])
    failed = WorkerRequest.objects.filter(worker__name="failed")
    said["failed"] = [r.error async for r in failed]
    said["deleted_disk"] = (await open_requests().aget(kind="delete")).parameters
    rows = {row.name: row async for row in Worker.objects.all()}
    said["facts"] = {name: sorted(row.facts) for name, row in rows.items() if row.facts}
    said["settings"] = sorted(set().union(*(row.config for row in rows.values())))
    for row in rows.values():
        check_settings(row.name, row.provider, row.config)
    said["kept_by"] = rows["kept"].facts["kept"]["by"]
    for kind in ("keep", "stop"):
        await carry_out((await open_requests().aget(worker__name="asked", kind=kind)).id)
    asked = await Worker.objects.aget(name="asked")
    said["asked"] = [asked.state, asked.desired]
    said["jobs"] = [[j.target, j.state] async for j in Job.objects.order_by("id")]
    await fleet.rebuild(await Worker.objects.aget(name="half"))
    said["half"] = cloud.requests
    said["left"] = sorted([r.kind async for r in open_requests()])
    print(json.dumps(said))

asyncio.run(main())
"""


@pytest.mark.parametrize("dump", ["home_before_requests.sql", "home_before_facts.sql"])
def test_status_keep_and_pending_requests_work_after_the_migrations(tmp_path: Path, dump: str) -> None:
    home, worker_files = tmp_path / "home", tmp_path / "workers"
    home.mkdir()
    (worker_files / "asked" / "state").mkdir(parents=True)
    with sqlite3.connect(home / "offload.sqlite3") as database:
        database.executescript(
            Path(__file__).with_name(dump).read_text("utf-8").replace("ROOT", str(worker_files))
        )
    database.close()
    cli = Cli(home, tmp_path)
    cli.run_anew("migrate", "--verbosity", "0")
    done = subprocess.run(
        [sys.executable, "-c", CARRY_OUT],
        cwd=ROOT,
        env=cli.env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["before"] == [["#1", "running"], ["#2", "running"]]
    assert said["open"] == [
        ["asked", "keep", "ann (dashboard)", ""],
        ["asked", "stop", "ben (dashboard)", ""],
        ["gone", "delete", "", ""],
        ["half", "rebuild", "", "making"],
    ]
    assert said["facts"] == {
        "kept": ["disk_zone", "idle", "kept", "placement", "spot", "zone"],
        "half": ["disk_zone", "zone"],
        "gone": ["adopts", "disk_zone", "zone"],
        "failed": ["down", "tried"],
        "cos": ["deadline", "disk_zone", "spot", "way", "zone"],
    }
    assert said["settings"] == [
        "alias", "auto_resume", "boot", "boot_file", "cloud", "container", "host", "owner", "port", "project",
        "spec", "tmux", "tmux_socket", "user", "zones",
    ]  # fmt: skip
    assert said["kept_by"] == "ann (dashboard)"
    assert said["failed"] == ["Starting it failed: no room."]
    assert said["deleted_disk"] == {"with_disk": True}
    assert (worker_files / "asked" / "state" / "keep-until").read_text().strip().endswith("Z")
    assert said["asked"] == ["stopped", "down"]
    assert said["jobs"] == [["#1", "running"], ["#2", "interrupted"]]
    # The old machine of the rebuild was gone already: it is not deleted a second time.
    assert said["half"] == [["stop", "asked"]]
    assert said["left"] == ["delete"]
