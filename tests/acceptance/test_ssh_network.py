"""The network is pulled in the middle of a job: a real cable between two network name spaces."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.acceptance.test_ssh_worker import TRUE_WITHIN, job_state, state
from tests.support.desk import reconciling
from tests.support.far_worker import far_worker, until
from tests.support.island import Island

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.geteuid() != 0, reason="Only root makes network name spaces."),
]


def test_the_cable_is_pulled_under_a_job_and_an_attached_terminal(tmp_path: Path) -> None:
    with Island() as island, far_worker(tmp_path, wrap=island.wrap, address=island.address) as far:
        far.add()
        stay = tmp_path / "stay"
        stay.write_text("")
        far.shop.pull(
            1, {"test.sh": f"echo waiting for go\nwhile test -e {stay}; do sleep 0.1; done\nseq 3000\n"}
        )
        with reconciling(far):
            job = far.launch(1)
            until(lambda: state(far) == "ready", "the loop sees the machine")
            with far.cli.terminal("offload", "attach", *far.target(1)) as terminal:
                until(lambda: far.tmux("list-clients"), "a client is attached")
                island.pull()
                assert until(lambda: state(far) == "unreachable", "the silence is noticed") < TRUE_WITHIN
                assert job_state(far, job["session"]) == "running", "nothing is made up about the job"

                # Over there it works on, and ends, unseen.
                stay.unlink()
                ended = far.root / "jobs" / job["session"] / "verdict.json"
                until(ended.exists, "the job goes on without the line")
                assert job_state(far, job["session"]) == "running"
                assert state(far) == "unreachable"

                island.plug()
                back = until(
                    lambda: (state(far), job_state(far, job["session"])) == ("ready", "succeeded"),
                    "both are seen",
                )
                assert back < TRUE_WITHIN
                terminal.expect("PASS")
                terminal.type_until(b"\x02d", "Verdict on #1")
                assert terminal.wait() == 0
        log = far.cli.run("offload", "logs", *far.target(1)[:2], "test", *far.target(1)[2:]).stdout
        assert [line for line in log.splitlines() if line.isdigit()] == [str(n) for n in range(1, 3001)]
        shown = far.cli.json("offload", "status", *far.target(1))["job"]
        assert (shown["state"], shown["verdict"]) == ("succeeded", "pass")
