"""The main pages in Debian's Firefox: the inbox, a job, a terminal that is typed into."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.test_accessibility import AXE
from tests.browser.test_wall import python
from tests.support.firefox import ENTER, Firefox, firefox
from tests.support.terminal_server import TerminalServer

pytestmark = pytest.mark.browser

FACTS = """
Job.objects.update(verdict='fail', title='Round discounts once', tasks=[
    {'id': 'build', 'name': 'Build', 'state': 'succeeded', 'seconds': 1.5, 'command': 'make', 'needs': []},
    {'id': 'test', 'name': 'Test', 'state': 'running', 'seconds': None, 'command': 'make test',
     'needs': ['build']}])
"""
FAULTS = "axe.run(document).then(found => found.violations.map(one => one.id))"
SHOWN = """(term => term ? Array.from({length: term.buffer.active.length},
  (_, y) => term.buffer.active.getLine(y)?.translateToString(true)).join("\\n") : "")
  (document.getElementById("terminal")?.offload?.term)"""


def check(browser: Firefox) -> None:
    """Check the page: no violation of axe-core, nothing wider than the window, none of the policy."""
    browser.evaluate(f"(() => {{ {AXE} }})()")
    assert browser.evaluate(FAULTS) == []
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.evaluate("window.violations") == []


def test_the_inbox_a_job_and_its_terminal(tmp_path: Path) -> None:
    with TerminalServer(sessions=2) as server, firefox(tmp_path / "profile") as browser:
        python(server, FACTS)
        browser.open(f"{server.url}/login/")
        browser.call(
            "storage.setCookie",
            cookie={
                "name": server.cookie_name, "domain": "127.0.0.1", "path": f"{server.prefix}/",
                "value": {"type": "string", "value": server.cookies["local"]}, "sameSite": "strict",
            },
        )  # fmt: skip

        browser.open(f"{server.url}/")
        browser.wait("document.getElementById('live').dataset.state === 'live'")
        assert "Round discounts once" in browser.text()
        for width in (1280, 320):
            browser.resize(width, 800)
            check(browser)
        browser.resize(1280, 800)
        # By keyboard to the newest job, whose page changes without a reload.
        browser.type("j" + ENTER)
        browser.wait("document.querySelector('.job-head h1')?.textContent.includes('Round discounts once')")
        browser.wait("document.getElementById('live')?.dataset.state === 'live'")
        check(browser)
        browser.evaluate("void (window.same = true)")
        python(server, "for job in Job.objects.all():\n    job.tasks[1]['state'] = 'failed'; job.save()\n"
               "    JobEvent.objects.create(job=job, kind='task_finished')")  # fmt: skip
        browser.wait("document.querySelector('.task-failed') && window.same")

        browser.open(f"{server.url}/terminals/{server.jobs[0]}/")
        browser.wait("document.getElementById('terminal')?.offload?.state.attached")
        browser.click("#terminal")
        browser.type("printf '%s-%s\\n' fire fox" + ENTER)
        browser.wait(f"({SHOWN}).includes('fire-fox')")
        assert "fire-fox" in server.tmux("capture-pane", "-p", "-t", f"={server.sessions[0]}:")
