"""The draft of a pull request from an implementation: what is to be merged, and what was proven about it."""

from __future__ import annotations

import re

from jobs.errors import Refused
from jobs.models import Draft, Job
from jobs.outbox import pushing
from jobs.outbox.placing import LONGEST, defuse
from jobs.states import DraftKind

_MOST_FINDINGS = 20
_BRANCHES = "refs/heads/"
# What makes a forge refer to, or close, another issue.
_REFERENCE = re.compile(r"[#!&](?=\d)|\bGH-(?=\d)|://", re.IGNORECASE)


async def make_pull(job: Job, actor: str) -> Draft:
    """Make a draft of a pull request for the commits in an implementation's worktree. Nothing is pushed.

    Raises `Refused` for another job, and for one without commits of its own; `NotFound` when there are none.
    """
    branch, issue = str(job.options.get("branch") or ""), job.options.get("issue")
    if not issue or not branch:
        raise Refused(f"{job.session} implements no issue, so there is no pull request to open.")
    if not job.fixed_sha:
        raise Refused(
            f"{job.session} has no commit to offer: it is {job.state}.",
            hint="Wait until it has ended; its assessment says why nothing was implemented.",
        )
    if not job.base_ref.startswith(_BRANCHES):
        raise Refused(
            f"{job.session} was made on {job.base_ref or 'no branch'}, which nothing can be merged into.",
            hint="Start it again with --base and the name of a branch.",
        )
    mark, tip = await pushing.bring_home(job)
    payload = {
        "tip": tip, "branch": branch, "base": job.base_ref.removeprefix(_BRANCHES),
        "verdict": job.verdict if tip == job.judged_sha else "",
    }  # fmt: skip
    return await pushing.keep(job, DraftKind.PULL_REQUEST, actor, mark, payload, body=_text(job, issue, tip))


def _text(job: Job, issue: int, tip: str) -> str:
    """Return title and text. What a job reports has words of strangers in it: they refer to nothing."""
    title = _REFERENCE.sub(" ", job.title) or f"Implement #{issue}"
    lines = [" ".join(title.split()), "", f"Closes #{issue}.", "", "### What was proven", ""]
    agent = job.options.get("agent") or "an agent"
    lines += [f"Verdict: **{job.verdict.replace('_', ' ') or 'none'}** for {job.judged_sha}.", ""]
    if tip != job.judged_sha:
        lines += [f"The commits up to {tip} came after that, and were not judged.", ""]
    for finding in job.findings[:_MOST_FINDINGS]:
        said = " ".join(str(finding.get("message", "")).replace("`", "'").split())
        lines.append(f"- {finding.get('severity')}: `{_REFERENCE.sub(' ', said)}`")
    lines += ["", f"Written by {agent} with Offload: a test first, which was run to see that it fails."]
    return defuse("\n".join(lines))[:LONGEST]
