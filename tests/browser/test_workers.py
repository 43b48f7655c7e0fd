"""The workers' page in Chromium: a real `serve`, and a simulated cloud with real sshd behind its machine."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from jobs.providers.gce.compute.api import ENDPOINT_VARIABLE
from jobs.simulator.machines import SshdMachines
from tests.browser.test_accessibility import AXE, CHECK
from tests.support import gce_server
from tests.support.dashboard import Dashboard
from tests.support.desk import until
from tests.support.gce_server import Simulator
from tests.support.sshd import Sshd

pytestmark = pytest.mark.browser

THERE = ZoneInfo("Asia/Tokyo")
PATIENCE = 40_000
# Makes the machine, and the row of a worker that is up.
SEED = """
import asyncio, json
from pathlib import Path
from jobs.cli.database import ensure_database
from jobs.models import Worker
from jobs.providers import registry
from jobs.providers.base import InstanceState
from jobs.workers import close_lines
from jobs.workers.provision import bring_up
from tests.support.factories import make_job
place, config = Path({place!r}), json.loads({config!r})
async def make():
    cloud = registry.make_cloud("gce-cos", config)
    await cloud.create(config["spec"], "box")
    while (await cloud.get("box")).state is not InstanceState.RUNNING:
        await asyncio.sleep(0.02)
    config["port"] = json.loads((place / "running.json").read_text())["port"]
    root = str(place / "home" / ".offload")
    await bring_up(await Worker.objects.acreate(name="box", provider="gce-cos", root=root, config=config))
    await close_lines()
ensure_database()
asyncio.run(make())
make_job(worker=Worker.objects.get(), state="running", worktree="", number=31)
"""


@dataclass
class Far:
    """A dashboard, the cloud next to it, the root on its one machine, and since when that is idle."""

    served: Dashboard
    cloud: Simulator
    root: Path
    since: datetime


def watchdog(root: Path, since: datetime) -> None:
    """Write what the watchdog of a machine writes that has been idle since then."""
    said = {
        "at": datetime.now(UTC).isoformat(),
        "idle_since": since.isoformat(), "idle_minutes": 30, "reasons": [],
        "stops_at": (since + timedelta(minutes=30)).isoformat(),
        "because": f"nothing has been at work here since {since.isoformat()}",
    }  # fmt: skip
    (root / "state").mkdir(parents=True, exist_ok=True)
    (root / "state" / "idle.json").write_text(json.dumps(said))


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    machines = SshdMachines(tmp_path / "machines", Path(f"{key}.pub").read_text())
    served = Dashboard(tmp_path / "home")
    try:
        with gce_server.endpoint(Simulator(machines=machines)) as cloud:
            place = tmp_path / "machines" / "box"
            spec = {"machine_type": "n2-standard-8", "spot": True}
            config = gce_server.config(
                key=str(key), user="root", strategy="internal", host_pattern="127.0.0.1", spec=spec
            )
            served.environment[ENDPOINT_VARIABLE] = f"{cloud.url}/compute/v1/"
            served.python(SEED.format(place=str(place), config=json.dumps(config)))
            root = place / "home" / ".offload"
            since = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)
            watchdog(root, since)
            served.start()
            yield Far(served, cloud, root, since)
            served.stop()
    finally:
        served.stop()
        machines.stop_all()


@pytest.fixture
def context(chromium: Browser, far: Far) -> Iterator[BrowserContext]:
    context = chromium.new_context(timezone_id=THERE.key, locale="en-GB")
    context.set_default_timeout(PATIENCE)
    complaints: list[str] = []
    context.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    link = re.search(r"http://\S+/login/\?token=\S+", far.served.output())
    assert link is not None
    context.new_page().goto(link[0])
    yield context
    context.close()
    assert complaints == []


def opened(context: BrowserContext, far: Far, path: str) -> Page:
    """Open a page, wait until it is live, and mark it: a reload would lose the mark."""
    assert far.served.serving is not None
    page = context.new_page()
    page.goto(far.served.serving.url + path)
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.evaluate("window.same = true")
    return page


def test_keeping_a_machine_up_arrives_on_every_page_and_so_does_its_loss(
    context: BrowserContext, far: Far
) -> None:
    idle_until = far.since + timedelta(minutes=30)
    watching, job = opened(context, far, "/workers/"), opened(context, far, "/jobs/1/")
    local = f"{idle_until.astimezone(THERE):%H:%M}"
    for page in (watching, job):
        line = page.locator(".stops").first
        expect(line).to_contain_text(f"Stops at {local} because nothing has been", timeout=PATIENCE)
    expect(watching.locator(".stops time").first).to_have_attribute(
        "title", f"{idle_until:%Y-%m-%d %H:%M} UTC"
    )

    clicking = opened(context, far, "/jobs/1/")
    clicking.get_by_role("button", name="4 h").click()
    expect(clicking.locator(".messages")).to_contain_text("box will be kept up until")
    kept_file = far.root / "state" / "keep-until"
    until(kept_file.exists, "the machine is told")
    kept = datetime.strptime(kept_file.read_text().strip(), "%Y-%m-%dT%H:%M:%S%z")
    assert timedelta(hours=3.9) < kept - datetime.now(UTC) < timedelta(hours=4.1)
    for page in (watching, job, clicking):
        line = page.locator(".stops").first
        # With the day when it is not today.
        told = re.compile(rf"Kept until (\w+ \d+ \w+ )?{kept.astimezone(THERE):%H:%M} on request of")
        expect(line).to_contain_text(told, timeout=PATIENCE)
    expect(watching.locator("#announce")).to_contain_text("Kept until")
    watching.locator("summary", has_text="Events").click()
    expect(watching.locator(".history")).to_contain_text("by local (dashboard)")

    for page in (watching, job):
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, page.url

    clicking.get_by_role("button", name="End").focus()
    clicking.keyboard.press("Enter")
    expect(watching.locator(".stops").first).to_contain_text(
        f"Stops at {local} because nothing", timeout=PATIENCE
    )

    far.cloud.happen("preempted", "box")
    expect(watching.locator(".worker .mark").first).to_have_text("preempted", timeout=PATIENCE)
    expect(watching.locator(".worker").first).to_contain_text("Preempted: Google took the spot machine back.")
    expect(watching.get_by_role("link", name="Start box")).to_be_visible()
    expect(watching.locator(".history")).to_have_attribute("open", "")
    expect(job.locator(".summary")).to_contain_text("Preempted: Google took the spot machine back.")
    for page in (watching, job):
        assert page.evaluate("window.same"), "the page changed without a reload"


def test_a_machine_is_checked_and_added_by_keyboard(chromium: Browser, tmp_path: Path) -> None:
    served = Dashboard(tmp_path / "home")
    served.environment["OFFLOAD_WORKER_ROOT"] = str(tmp_path / "root")
    with Sshd(tmp_path / "far") as sshd:
        try:
            served.start()
            context = chromium.new_context(viewport={"width": 320, "height": 640})
            context.set_default_timeout(PATIENCE)
            page = context.new_page()
            page.goto(served.link())
            page.get_by_role("link", name="Workers").click()
            page.get_by_text("Add a worker").focus()
            page.keyboard.press("Enter")
            page.get_by_label("Name", exact=True).fill("far")
            page.get_by_label("Address").fill("127.0.0.1:1")
            page.get_by_label("Address").press("Enter")
            expect(page.get_by_role("alert")).to_contain_text("127.0.0.1")
            page.evaluate(AXE)
            assert page.evaluate(CHECK, None) == []
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
            page.get_by_label("Address").fill(f"127.0.0.1:{sshd.port}")
            page.locator("#add-key").fill(str(sshd.client_key))
            page.locator("#add-key").press("Enter")
            expect(page.locator(".messages")).to_contain_text("far was added. First contact: ")
            expect(page.locator(".messages")).to_contain_text("SHA256:")
            expect(page.locator(".worker", has_text="far")).to_contain_text("ready")
            context.close()
        finally:
            served.stop()
