"""A round of a fix: the agent edits a tree of its own, and what it changed becomes commits of ours.

The agent's tree is in its place; nothing is run there but the agent. Its changes come as a patch, which
git applies to an index of ours; hooks and settings of the repository have no part in the commit. The
evidence of the round is the next task's (`fixed`).
"""

from __future__ import annotations

import os
import re
import tempfile
from typing import Any, Dict, List, Mapping, Optional, Sequence

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
    """Make one round: a commit for each topic. Exit code 0: it is written down; 1: the agent did not end."""
    state = rounds.read(job)
    if state is None:
        raise RunnerError("no_rounds", "What is to be repaired is not known.", exit_code=EXIT_SOFTWARE)
    if state["rounds"] and state["rounds"][-1]["left"] is None:
        say("The agent's changes of this round are committed already.")
        return 0
    call = next(task["outputs"]["agent"] for task in job.plan["tasks"] if task["role"] == "fix")
    whole = _parts(state)
    code, stopped = 0, ""
    for number, topics in enumerate(whole):
        if number < len(state["parts"]):
            continue  # an earlier start of this round made it
        stopped = rounds.budget_is_used_up(job, call)
        if stopped:
            say("%s." % (stopped[:1].upper() + stopped[1:]))
            break
        code, part = _make(job, state, call, number, topics)
        if part is None:
            stopped = rounds.budget_is_used_up(job, call) or "the agent did not come to an end"
            break
        state["parts"].append(part)
        rounds.write(job, state, go_on=True, why="")
    if rounds.close(state, stopped):
        rounds.write(job, state, go_on=True, why="")
        return 0
    why = stopped or state["parts"][0]["why"]
    rounds.write(job, {**state, "parts": []}, go_on=False, why=why)
    return code


def _parts(state: Mapping[str, Any]) -> List[List[int]]:
    """Return the topics of a round, by number: of each list, the agent's changes become one commit.

    Conflicts have a round of their own. Of the others, what failed comes first, and is all that a further
    round is about; then each thread by itself.
    """
    kinds = [str(topic["kind"]) for topic in state["to_do"]]
    conflicts = [number for number, kind in enumerate(kinds) if kind == "conflict"]
    if conflicts and not rounds.is_merged(state):
        return [conflicts]
    failures = [number for number, kind in enumerate(kinds) if kind not in ("conflict", "thread")]
    is_first = not [item for item in state["rounds"] if not item["merged"]]
    threads = [[number] for number, kind in enumerate(kinds) if kind == "thread"] if is_first else []
    # What a merge or an answer to a thread broke is to be repaired, though it did not fail before.
    return ([failures] if failures or not threads else []) + threads


def _make(
    job: Job, state: Mapping[str, Any], call: Dict[str, Any], number: int, numbers: Sequence[int]
) -> "tuple[int, Optional[Dict[str, Any]]]":
    """Call the agent about some topics; return 0 and the part of the round, or its exit code and None."""
    topics = [state["to_do"][one] for one in numbers]
    start = rounds.current(job, state)
    merges = any(topic["kind"] == "conflict" for topic in topics)
    mark = {"commit": start, "round": len(state["rounds"]) + 1, "part": number}
    session = interrupted_session(job, call, start) if job.read("scratch.json") == mark else ""
    if not session:
        _scratch(job, "make", start, *(["--merge", job.base_sha] if merges else []))
        job.write("scratch.json", mark)
    for topic in topics:
        say("To repair: %s" % topic["title"])
    code, output = call_agent(job, call, _material(job, state, start, topics), about=start, session=session)
    if output is None:
        return code, None
    summary = shown(" ".join(output.text.split()))[-_SUMMARY:]
    say(summary)
    part: Dict[str, Any] = {"topics": list(numbers), "commit": "", "merged": merges, "subject": ""}
    part["summary"], part["why"] = summary, "the agent changed nothing"
    try:
        tree = apply(job, start, _scratch(job, "take", start))
        if tree and issue.wants_test(state):
            tree, left_out = _tests_only(job, start, tree)
            told = ", ".join(left_out[:5]) + (" and %d more" % (len(left_out) - 5) if left_out[5:] else "")
            if left_out:
                say("This round is for the test alone; left out: %s" % told)
            part["why"] = "" if tree else "the agent wrote no test; it changed %s" % told
        if tree:
            left = _with_markers(job, tree, topics[0]["paths"]) if merges else []
            if left:
                raise RunnerError("markers", "conflict markers are left in %s" % ", ".join(left[:5]))
            subject = _shortened(issue.subject(state) if issue.is_one(state) else _subject(topics))
            parents = [start, job.base_sha] if merges else [start]
            commit = _commit(job, tree, parents, _message(job, subject, call["name"], topics))
            part.update(commit=commit, subject=subject, why="")
    except RunnerError as error:
        part["why"] = "the agent's changes were not taken: %s" % error.message.rstrip(".")
    part.update(rounds.used_by_part(job, state))
    if part["commit"]:
        say("Committed as %s: %s" % (part["commit"][:10], part["subject"]))
    else:
        say("%s." % (part["why"][:1].upper() + part["why"][1:]))
    return 0, part


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
    first = topics[0] if topics else {"kind": ""}
    if not topics:
        told = "Repair what the last commits broke"
    elif first["kind"] == "conflict":
        told = "Merge the base, resolving conflicts in %s" % counted(len(first["paths"]), "file")
    elif first["kind"] == "tests":
        names = [case["name"] for topic in topics for case in topic["cases"]]
        told = "Fix %s" % (names[0] if len(names) == 1 else "%s and %d more" % (names[0], len(names) - 1))
    elif first["kind"] == "thread":
        told = "Answer the review thread at %s" % first["where"]
    else:
        told = "Fix what %s reports" % first["task"]
    return told


def _shortened(told: str) -> str:
    told = " ".join(shown(told).split())
    return told if len(told) <= _SUBJECT else told[: _SUBJECT - 1] + "…"


def _message(job: Job, subject: str, agent: str, topics: Sequence[Mapping[str, Any]]) -> str:
    answers = ["Answers:", *("- %s" % _named(topic) for topic in topics[:50]), ""] if topics else []
    made_by = "Made by %s in the job %s of Offload." % (agent, job.paths.session)
    return "\n".join([subject, "", *answers, made_by, ""])


def _named(topic: Mapping[str, Any]) -> str:
    """Return the title of a topic for a commit's message: what others named in it refers to nothing."""
    return str(topic["title"]) if topic["kind"] == "issue" else issue.harmless(topic["title"])


def _material(job: Job, state: Mapping[str, Any], commit: str, topics: Sequence[Mapping[str, Any]]) -> str:
    header = "## The issue" if issue.is_one(state) else "## What to repair"
    parts = [render(job), *issue.instructions(state), header, ""]
    for topic in topics:
        parts += ["### %s" % topic["title"], "", *("    " + line for line in topic["lines"]), ""]
    is_about_threads = any(topic["kind"] == "thread" for topic in topics)
    if state["rounds"] and state["rounds"][-1]["left"] and not is_about_threads:
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
