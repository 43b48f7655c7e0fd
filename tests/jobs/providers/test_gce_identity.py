"""The machines' service account: `--apply` makes one that may read the image, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from jobs.providers.base import Severity
from jobs.providers.gce.identity.account import Account
from jobs.providers.gce.onboarding import repair
from jobs.providers.gce.onboarding.examination import examine
from tests.jobs.providers.test_gce_examine import (
    IMAGE,
    WORKER,
    at,
    no,
    ready,
    simulator,
    stub,
    wanted,
    yes,
)
from tests.support.gce_server import PROJECT, Simulator
from tests.support.gcloud import ACCOUNT

__all__ = ["simulator", "stub"]
SUBJECT = "identity"


async def test_it_may_read_the_image_and_nothing_else(simulator: Simulator) -> None:
    await ready(simulator)
    reader = "roles/artifactregistry.reader"
    theirs = {"role": reader, "members": ["user:boss@example.com"], "condition": {"title": "x"}}
    # Who makes one does not own it; and Google knows it late.
    simulator.world.account.update(bindings=[theirs], unknown=2, lacks=["iam.serviceAccounts.actAs"])
    said: list[str] = []
    what = wanted(image=IMAGE)
    seen = await examine(what)
    (line,) = [one for one in seen.problems if one.subject == SUBJECT]
    assert (line.severity, line.repair) == (Severity.WARN, "identity")
    assert not await repair.apply_repairs(what, seen, said.append, no)
    assert simulator.world.account["accounts"] == {}, "nothing is made without a yes"
    for _ in range(2):  # the second finds everything there, as after a death before it was noted
        assert await repair.apply_repairs(what, seen, said.append, yes)
        assert (seen.identity, seen.made_identity) == (WORKER, True)
        assert list(simulator.world.account["accounts"]) == [WORKER]
        ours = {"role": reader, "members": [f"serviceAccount:{WORKER}"]}
        assert simulator.world.account["bindings"] == [theirs, ours]
        assert simulator.world.account["accounts"][WORKER]["bindings"] == [
            {"role": "roles/iam.serviceAccountUser", "members": [f"user:{ACCOUNT}"]}
        ]
    what = wanted(image=IMAGE, service_account=WORKER)
    assert (await at(what))[SUBJECT].severity is Severity.PASS
    simulator.world.account["accounts"][WORKER]["bindings"] = []
    assert await repair.apply_repairs(what, await examine(what), said.append, yes)
    assert (await at(what))[SUBJECT].severity is Severity.PASS


@pytest.mark.parametrize("path", ["serviceAccounts", "projects/[^/]*:setIamPolicy", "com:setIamPolicy", ""])
async def test_a_death_or_a_lost_answer_anywhere_costs_a_repetition(simulator: Simulator, path: str) -> None:
    """`path`: where an answer is lost, after which it is asked again; empty: a death before the last step."""
    await ready(simulator)
    ours = {"role": "roles/artifactregistry.reader", "members": [f"serviceAccount:{WORKER}"]}
    simulator.world.account["lacks"] = ["iam.serviceAccounts.actAs"]
    if path:
        simulator.fail("lost-answer", f"POST .*{path}$")  # carried out, and asked again
    else:
        simulator.world.account.update(accounts={WORKER: {}}, bindings=[ours])
    seen = await examine(wanted(image=IMAGE))
    assert await repair.apply_repairs(wanted(image=IMAGE), seen, print, yes)
    assert seen.made_identity
    assert [one.times for one in simulator.faults] == [0] * len(simulator.faults)
    assert simulator.world.account["bindings"] == [ours]
    assert (await at(wanted(image=IMAGE, service_account=WORKER)))[SUBJECT].severity is Severity.PASS


async def test_one_that_was_made_and_not_let_read_the_image_is_seen_and_mended(simulator: Simulator) -> None:
    """What a death between the two leaves, when the account was configured before it was made."""
    await ready(simulator)
    theirs = {"role": "roles/artifactregistry.reader", "members": ["user:boss@example.com"]}
    simulator.world.account.update(accounts={WORKER: {}}, bindings=[theirs])
    what = wanted(image=IMAGE, service_account=WORKER)
    seen = await examine(what)
    (line,) = [one for one in seen.problems if one.subject == SUBJECT]
    assert (line.severity, line.repair) == (Severity.WARN, "reader")
    assert f"{WORKER} has no role in {PROJECT} that lets it read the image." in line.detail
    assert line.command.endswith(f"--member serviceAccount:{WORKER} --role roles/artifactregistry.reader")
    assert not await repair.apply_repairs(what, seen, print, no)
    simulator.world.account["unknown"] = 1  # it is as new as that
    assert await repair.apply_repairs(what, seen, print, yes)
    both = ["user:boss@example.com", f"serviceAccount:{WORKER}"]
    assert simulator.world.account["bindings"] == [{**theirs, "members": both}]
    assert (await at(what))[SUBJECT].severity is Severity.PASS


@pytest.mark.parametrize(
    "role", ["roles/artifactregistry.writer", "roles/viewer", "projects/p/roles/own", ""]
)
async def test_what_may_let_it_read_is_not_doubted(simulator: Simulator, role: str) -> None:
    """`role`: what it has; empty: it has none, and who looks may not see that."""
    await ready(simulator)
    simulator.world.account["accounts"] = {WORKER: {}}
    if role:
        binding = {"role": role, "members": [f"serviceAccount:{WORKER}"]}
        simulator.world.account["bindings"] = [binding]
    else:
        simulator.world.account["lacks"] = ["resourcemanager.projects.getIamPolicy"]
    assert (await at(wanted(image=IMAGE, service_account=WORKER)))[SUBJECT].severity is Severity.PASS


async def test_who_may_not_make_one_is_told_so(simulator: Simulator) -> None:
    await ready(simulator)
    simulator.world.account["lacks"] = ["iam.serviceAccounts.create"]
    said: list[str] = []
    await repair.apply_repairs(wanted(image=IMAGE), await examine(wanted(image=IMAGE)), said.append, yes)
    (refusal,) = [one for one in said if "'iam.serviceAccounts.create' denied" in one]
    assert "roles/iam.serviceAccountAdmin" in refusal
    simulator.world.account["off"] = ["iam.googleapis.com"]
    line = (await at(wanted(service_account=WORKER)))[SUBJECT]
    assert (line.severity, "iam.googleapis.com" in line.remedy) == (Severity.WARN, True)


async def test_what_others_grant_meanwhile_stays(simulator: Simulator) -> None:
    here = Account(PROJECT)
    names = [f"user:{number}@example.com" for number in range(3)]
    await asyncio.gather(*(here.grant(name, ["roles/viewer"]) for name in names))
    here.close()
    (binding,) = simulator.world.account["bindings"]
    assert sorted(binding["members"]) == names
