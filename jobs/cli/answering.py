"""Answering an agent that waits in a job's pane, from the command line."""

from __future__ import annotations

import sys
from argparse import Namespace

from jobs.cli.output import print_job_json
from jobs.cli.request import Request, actor
from jobs.client import get_client
from jobs.errors import UsageError

_TYPED = {"send": "was given the text", "approve": "was told yes", "deny": "was told no"}


async def answer_agent(request: Request, answer: str) -> int:
    """Type an answer to the agent of the job that `open --agent` started for the target."""
    text = " ".join(request.words[1:])
    if answer == "send" and not text:
        if sys.stdin.isatty():
            raise UsageError("There is no text to send.", hint="Name it, or write it to standard input.")
        text = sys.stdin.read()
    words = [request.words[0], "open"]
    job = await Request(words, Namespace(repo=request.repo)).job()
    job = await get_client().answer(job.id, answer, text, actor())
    if request.json:
        print_job_json(job)
    else:
        print(f"The agent of {job.session} {_TYPED[answer]}.")
    return 0
