"""Every page in every state: axe-core, 320 px, hostile texts inert, no report of the content policy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.dashboard import ROOT, Dashboard, dashboard

pytestmark = pytest.mark.browser

AXE = (ROOT / "node_modules" / "axe-core" / "axe.min.js").read_text()
CHECK = """(rules) => axe.run(document, rules ? {runOnly: rules} : {}).then((found) => found.violations.map(
    (item) => `${item.id}: ${item.nodes.map((node) => node.html.slice(0, 200)).join(" | ")}`))"""
# Media of a page -> the rules that may come out differently from the first's; all of them when empty.
MEDIA: Sequence[tuple[Mapping[str, Any], Sequence[str]]] = (
    ({"color_scheme": "light"}, ()),
    ({"color_scheme": "dark"}, ("color-contrast", "link-in-text-block")),
    ({"forced_colors": "active", "reduced_motion": "reduce"}, ("target-size",)),
)
# Every field that a forge or a worker fills has this in it.
HOSTILE = "<img src=x onerror=pwned=1>\\\"'><script>pwned=1</script><svg onload=pwned=1>{{7*7}}"
SEED = f"""
import json
from pathlib import Path
from django.conf import settings
from django.utils import timezone
from jobs.models import Pool, PullRequest, Worker
from jobs.states import JobState
from tests.support.factories import SHA, make_job, make_repository, make_task, make_worker
bad = "{HOSTILE}"
repository = make_repository("acme/shop", url="https://forge.invalid/acme/shop", forge="github")
far = make_worker("far", provider="ssh", state="unreachable", state_detail=bad)
begin = "2026-01-01T00:00:00Z"
ended = [make_task("build", started_at=begin),
         make_task("test", "failed", name=bad, command=bad, tail=bad, needs=["build"], started_at=begin)]
running = [make_task("build"), make_task("test", "running", started_at="2026-01-01T00:00:00Z"),
           make_task("lint", "pending")]
finding = {{"severity": "error", "message": bad, "file": bad, "line": 3, "task": "test"}}
kinds = dict(
    fail=dict(verdict="fail", tasks=ended, findings=[finding, finding], assessment=bad, proof=False,
              archived_at=timezone.now(), moved_to="9" * 40),
    passed=dict(verdict="pass", proof=True, tasks=[make_task("build")]),
    interrupted=dict(state=JobState.INTERRUPTED, tasks=ended, reason_detail=bad),
    failed=dict(state=JobState.FAILED, tasks=ended),
    approval=dict(state=JobState.QUEUED, attention="approval"),
    unreachable=dict(state=JobState.RUNNING, tasks=running, worker=far),
    cancelling=dict(state=JobState.CANCELLING, tasks=running, worker=far),
    cancelled=dict(state=JobState.CANCELLED),
    removed=dict(verdict="pass", removed_at=timezone.now(), archived_at=timezone.now()),
)
from jobs.models import Draft
ids = {{}}
for number, (kind, columns) in enumerate(kinds.items(), 1):
    job = make_job(repository=repository, number=number, title=bad, url="https://forge.invalid/x", **columns)
    if kind == "fail":
        Draft.objects.create(repository=repository, job=job, number=number, kind="review", error=bad,
                             body=bad, comments=[{{"path": bad, "line": 1, "body": bad}}], mark="0",
                             head_sha=SHA)
    ids[kind] = job.id
make_job(repository=repository, number=1, action="fix", state=JobState.CANCELLED)
pool = Pool.objects.create(name="lab", provider="gce-cos", maximum=2, price=0.4)
fact = {{"cores": 2, "load": 2, "memory": 4e9, "free": 1e9, "disk": 1e11, "disk_free": 1e9, "at": begin}}
Worker.objects.filter(id=far.id).update(pool=pool, facts={{"capacity": fact}})
make_job(repository=repository, number=60, state=JobState.QUEUED, pool=pool, worker=far, reason_detail=bad)
for number in (1, 3, 50, 51):
    PullRequest.objects.create(
        repository=repository, number=number, title=bad, author=bad[:100], labels=[bad], head_sha=SHA,
        details_sha=SHA, details_at=timezone.now(), url="javascript:pwned=1",
        checks=[{{"name": bad, "outcome": "failure", "required": True, "url": "javascript:pwned=1"}}],
    )
folder = Path(settings.OFFLOAD.archive) / str(ids["fail"])
(folder / "tasks").mkdir(parents=True)
(folder / "tasks" / "test.log").write_text(bad)
case = {{"name": bad, "message": bad}}
(folder / "assessment.json").write_text(json.dumps({{
    "tests": {{"test": {{"broken": [case], "fixed": [case], "flaky": [case]}}}},
    "proof": {{"files": [{{"path": bad, "result": "proof"}}]}},
    "hunks": {{"hunks": [{{"path": bad, "first": 1, "last": 2, "result": "uncovered"}}]}},
    "not_checked": [bad],
}}))
print(json.dumps(ids))
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Dashboard, dict[str, int]]]:
    with dashboard(tmp_path_factory.mktemp("accessible") / "home") as running:
        yield running, json.loads(running.python(SEED))


def _paths(ids: Mapping[str, int]) -> list[str]:
    fail = ids["fail"]
    return [
        "/", "/?group=ready", "/?q=nothing-has-this", "/wall/", "/workers/", "/settings/", "/start/",
        "/outbox/",
        *(f"/jobs/{number}/" for number in ids.values()),
        f"/jobs/{fail}/logs/test/", f"/jobs/{fail}/diff/", f"/jobs/{fail}/remove/", "/jobs/999/",
        "/outbox/1/", "/outbox/1/edit/",
    ]  # fmt: skip


def _check(page: Page, path: str, rules: Sequence[str] = ()) -> list[str]:
    """Return what is wrong on the page, as it is on a wide and on the narrowest screen."""
    page.evaluate(AXE)
    found = [str(item) for item in page.evaluate(CHECK, list(rules) or None)]
    page.set_viewport_size({"width": 320, "height": 640})
    wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    if wider > 0:
        found.append(f"{wider} px too wide for 320 px")
    if page.evaluate("'pwned' in window"):
        found.append("a hostile text ran")
    page.set_viewport_size({"width": 1280, "height": 900})
    return [f"{path}: {item}" for item in found]


def test_every_page_and_state_is_accessible(
    served: tuple[Dashboard, dict[str, int]], chromium: Browser
) -> None:
    running, ids = served
    assert running.serving is not None
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    wrong: list[str] = []
    page.on(
        "console",
        # A page that is meant to be missing is told by the browser as well.
        lambda m: wrong.append(m.text) if m.type == "error" and "404" not in m.text else None,
    )
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(f"{running.serving.url}/")  # without a login
    wrong += _check(page, "login")
    page.goto(running.link())
    for media, rules in MEDIA:
        page.emulate_media(**media)
        # Forced colours have no contrast of ours: a few pages tell whether things stay within reach.
        for path in _paths(ids)[: 7 if "forced_colors" in media else None]:
            page.goto(running.serving.url + path)
            # All that can be unfolded is.
            page.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
            wrong += _check(page, f"{path} {media}", rules)
        page.goto(f"{running.serving.url}/")
        expect(page.locator("#live")).to_have_attribute("data-state", "live")  # its scripts run
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
        wrong += _check(page, f"help {media}", rules)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.keyboard.press("Control+k")
        expect(page.get_by_role("dialog", name="Commands")).to_be_visible()
        wrong += _check(page, f"palette {media}", rules)
    context.close()
    assert not wrong, "\n".join(wrong)
