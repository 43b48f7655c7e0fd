"""A round of a fix: the agent edits a tree of its own, and what it changed becomes a commit of ours.

The agent's tree is in its place; nothing is run there but the agent. Its changes come as a patch, which
git applies to an index of ours; hooks and settings of the repository have no part in the commit. The
evidence of the round is the next task's (`fixed`).
"""

from __future__ import annotations

import os
import re
import tempfile
from typing import Any, Dict, List, Mapping, Sequence

from jobs.remote.offload_runner.engine.job_command import run_as_job
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import AGENT
from jobs.remote.offload_runner.git.command import shown
from jobs.remote.offload_runner.git.mirror import Mirror
from jobs.remote.offload_runner.git.unsaved import IDENTITY
from jobs.remote.offload_runner.protocol import EXIT_SOFTWARE
from jobs.remote.offload_runner.steps import issue, rounds
from jobs.remote.offload_runner.steps.agent_call import call_agent, interrupted_session
from jobs.remote.offload_runner.steps.context import render
from jobs.remote.offload_runner.steps.record import Job, counted, say
from jobs.remote.offload_runner.steps.trees import content
from jobs.remote.offload_runner.wire import runner_argv

_DIFF_BYTES = 400_000
_PATCH_BYTES = 16 * 1024 * 1024
_SECONDS = 600.0
_SUMMARY = 4000
_SUBJECT = 72
_MARKER = re.compile(rb"^(<{7}|>{7})( |$)", re.MULTILINE)


def run(job: Job) -> int:
    """Make one round. Exit code 0: it is written down; 1: the agent did not come to an end."""
    state = rounds.read(job)
    if state is None:
        raise RunnerError("no_rounds", "What is to be repaired is not known.", exit_code=EXIT_SOFTWARE)
    if state["rounds"] and state["rounds"][-1]["left"] is None:
        say("The agent's changes of this round are committed already.")
        return 0
    call = next(task["outputs"]["agent"] for task in job.plan["tasks"] if task["role"] == "fix")
    start = rounds.current(job, state)
    conflict = next((topic for topic in state["to_do"] if topic["kind"] == "conflict"), None)
    merges = conflict is not None and not rounds.is_merged(state)
    session = interrupted_session(job, call, start) if job.read("scratch.json") == {"commit": start} else ""
    if not session:
        _scratch(job, "make", start, *(["--merge", job.base_sha] if merges else []))
        job.write("scratch.json", {"commit": start})
    topics = [conflict] if merges and conflict is not None else _left_to_do(state)
    code, output = call_agent(job, call, _material(job, state, start, topics), about=start, session=session)
    if output is None:
        rounds.write(job, state, go_on=False, why="the agent did not come to an end")
        return code
    summary = shown(" ".join(output.text.split()))[-_SUMMARY:]
    say(summary)
    commit = ""
    why = "the agent changed nothing"
    try:
        tree = apply(job, start, _scratch(job, "take", start))
        if tree and issue.wants_test(state):
            tree, left_out = _tests_only(job, start, tree)
            told = ", ".join(left_out[:5]) + (" and %d more" % (len(left_out) - 5) if left_out[5:] else "")
            if left_out:
                say("This round is for the test alone; left out: %s" % told)
            why = "" if tree else "the agent wrote no test; it changed %s" % told
        if tree:
            left = _with_markers(job, tree, topics[0]["paths"]) if merges else []
            if left:
                raise RunnerError("markers", "conflict markers are left in %s" % ", ".join(left[:5]))
            subject = _shortened(issue.subject(state) if issue.is_one(state) else _subject(topics))
            parents = [start, job.base_sha] if merges else [start]
            commit = _commit(job, tree, parents, _message(job, subject, call["name"], topics))
    except RunnerError as error:
        why = "the agent's changes were not taken: %s" % error.message.rstrip(".")
    if not commit:
        say("%s." % (why[:1].upper() + why[1:]))
        rounds.write(job, state, go_on=False, why=why)
        return 0
    entry = {"number": len(state["rounds"]) + 1, "commit": commit, "merged": merges, "subject": subject}
    entry.update(summary=summary, left=None)
    if issue.wants_test(state):
        entry["test"] = True
    rounds.write(job, {**state, "rounds": [*state["rounds"], entry]}, go_on=True, why="")
    say("Committed as %s: %s" % (commit[:10], subject))
    return 0


def _left_to_do(state: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """Return the topics of a round: threads are for the first one only."""
    first = not [item for item in state["rounds"] if not item["merged"]]
    return [one for one in state["to_do"] if one["kind"] not in ("conflict", *(() if first else ("thread",)))]


def _scratch(job: Job, what: str, commit: str, *words: str) -> bytes:
    """Have the agent's tree made, or return what changed there. Raises `RunnerError`."""
    argv = [*runner_argv(job.paths.root), "scratch", what, "--session", job.paths.session]
    argv += ["--repository", str(job.prepared["repository"]), "--commit", commit, *words]
    argv += ["--limit", str(_PATCH_BYTES)] if what == "take" else []
    said = bytearray()
    code = run_as_job(
        job.paths, argv, cwd=job.paths.place(AGENT).home, env={}, timeout=_SECONDS, output=said.extend,
        is_over=lambda: len(said) > 2 * _PATCH_BYTES, place=AGENT,
    )  # fmt: skip
    if code != 0:
        told = shown(said[-1000:].decode("utf-8", "replace").strip()) or "exit code %d" % code
        raise RunnerError("scratch_failed", told)
    return bytes(said)


def apply(job: Job, commit: str, patch: bytes) -> str:
    """Return the tree that a patch makes of a commit's; "" when it is the same. Raises `RunnerError`."""
    if not patch.strip():
        return ""
    with tempfile.TemporaryDirectory(prefix="offload-fix-") as scratch:
        env = {"GIT_INDEX_FILE": os.path.join(scratch, "index")}
        job.git.run("read-tree", commit, env=env)
        job.git.run("apply", "--cached", "--binary", "--whitespace=nowarn", "-", input=patch, env=env,
                    doing="Applying the agent's changes")  # fmt: skip
        tree = job.git.run("write-tree", env=env).stdout.decode("ascii").strip()
    raw = job.git.out("diff-tree", "-r", "--raw", "-z", commit, tree)
    if b":160000 " in raw or b" 160000 " in raw:
        raise RunnerError("submodule", "they hold a repository of its own")
    return tree if raw else ""


def _tests_only(job: Job, commit: str, tree: str) -> "tuple[str, List[str]]":
    with tempfile.TemporaryDirectory(prefix="offload-fix-") as scratch:
        return issue.tests_only(job, commit, tree, {"GIT_INDEX_FILE": os.path.join(scratch, "index")})


def _with_markers(job: Job, tree: str, paths: Sequence[str]) -> List[str]:
    return [path for path in paths if _MARKER.search(content(job, tree, path) or b"")]


def _commit(job: Job, tree: str, parents: Sequence[str], message: str) -> str:
    words = [word for parent in parents for word in ("-p", parent)]
    done = job.git.run("commit-tree", tree, *words, "-F", "-", input=message.encode(), env=IDENTITY)
    commit = done.stdout.decode("ascii").strip()
    mirror = Mirror(job.git_path)
    job.git.run("update-ref", mirror.ref(job.paths.session, "fix"), commit)
    return commit


def _subject(topics: Sequence[Mapping[str, Any]]) -> str:
    first = topics[0]
    if first["kind"] == "conflict":
        told = "Merge the base, resolving conflicts in %s" % counted(len(first["paths"]), "file")
    elif first["kind"] == "tests":
        names = [case["name"] for topic in topics for case in topic["cases"]]
        told = "Fix %s" % (names[0] if len(names) == 1 else "%s and %d more" % (names[0], len(names) - 1))
    elif first["kind"] == "thread":
        told = "Address %s" % counted(len(topics), "review thread")
    else:
        told = "Fix what %s reports" % first["task"]
    return told


def _shortened(told: str) -> str:
    told = " ".join(shown(told).split())
    return told if len(told) <= _SUBJECT else told[: _SUBJECT - 1] + "…"


def _message(job: Job, subject: str, agent: str, topics: Sequence[Mapping[str, Any]]) -> str:
    lines = [subject, "", "Answers:", *("- %s" % topic["title"] for topic in topics[:50])]
    return "\n".join([*lines, "", "Made by %s in the job %s of Offload." % (agent, job.paths.session), ""])


def _material(job: Job, state: Mapping[str, Any], commit: str, topics: Sequence[Mapping[str, Any]]) -> str:
    header = "## The issue" if issue.is_one(state) else "## What to repair"
    parts = [render(job), *issue.instructions(state), header, ""]
    for topic in topics:
        parts += ["### %s" % topic["title"], "", *("    " + line for line in topic["lines"]), ""]
    if state["rounds"] and state["rounds"][-1]["left"]:
        parts += [
            "## What the last round left",
            "",
            *("- %s" % text for text in state["rounds"][-1]["left"]),
            "",
        ]
    start = job.merge_base or job.base_sha
    words = ["diff", "--no-color", "--no-ext-diff", "--no-textconv", start, commit, "--"]
    diff = job.git.beginning(_DIFF_BYTES + 1, *words) if start else b""
    cut = " (only its beginning)" if len(diff) > _DIFF_BYTES else ""
    parts += ["", "## Diff of the change as it is now%s" % cut, ""]
    return "\n".join([*parts, diff[:_DIFF_BYTES].decode("utf-8", "replace")])
