"""The words that both sides of the wire use: plans, journal events, answers.

Shipped to the worker and imported by the application. Standard library only, Python 3.9 and later.

A *plan* is JSON, never code:

    {"schema": "offload-plan/1", "job": {...}, "parallel": 4, "tasks": [TASK, ...]}

    TASK = {"id", "name", "role", "argv" | "shell", "needs": [ids], "when": "success|failure|always",
            "timeout": seconds, "cwd", "env": {}, "secrets": [names], "agent": null, "evidence": bool,
            "outputs": {}, "writes": bool, "gateway": null or {"api", "env", ...: see gateway.spec},
            "gate": "", "terminal": bool, "after": [ids]}

`outputs` is what a task's step needs to know in addition to its command; `outputs["shown"]`, where
there is one, is what people see as the command.

A *journal event* is one JSON line `{"seq": n, "at": RFC 3339 UTC, "kind": ..., ...}`, n from 1 without gaps.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, Optional

PROTOCOL = 1
MAGIC = "offload-runner"
PLAN_SCHEMA = "offload-plan/1"
# How Python is told to leave the worker's site packages, `PYTHON*` variables and start-up files alone: a
# broken one would keep the runner from starting. Text and file names are UTF-8 whatever the locale is.
ISOLATED = ("-I", "-S", "-X", "utf8")

# Journal event kinds.
PREPARED = "prepared"  # sha, base_sha, base_ref, merge_base, worktree
STARTED = "started"  # attempt, pid, resumed: bool
TASK_STARTED = "task_started"  # task
TASK_FINISHED = "task_finished"  # task, state, exit_code, seconds, reason, tail (last lines of a failure)
ATTENTION = "attention"  # attention, detail
NOTE = "note"  # text
# Of an agent's calls by way of the gateway. `until`: RFC 3339 or null; `error`: what cut the answer off.
MODEL_CALL = (
    "model_call"  # task, api, model, status, input, output, cached, estimated, dollars, seconds, error
)
MODEL_LIMIT = "model_limit"  # task, api, status, until
# What an agent does. `since`: RFC 3339; `evidence`: what says so, cut. `source`: where that comes from, of
# an agent with a terminal; one without has its own events only.
AGENT_STATE = "agent_state"  # task, state, detail, since, evidence, source
# What was typed to an agent, and for whom. `answer`: one of `ANSWERS`.
AGENT_ANSWER = "agent_answer"  # task, answer, text, actor, state
FINISHED = "finished"  # state, reason, verdict, judged_sha, proof, findings: [...]
EVENT_KINDS = (
    PREPARED,
    STARTED,
    TASK_STARTED,
    TASK_FINISHED,
    ATTENTION,
    NOTE,
    MODEL_CALL,
    MODEL_LIMIT,
    AGENT_STATE,
    AGENT_ANSWER,
    FINISHED,
)

# States of an agent: it waits for its model, a tool (`detail`), the end of a limit, a person's text or their
# yes; it ended. `unknown`: something was typed, and it has not said what it does since.
THINKING = "thinking"
TOOL = "tool"
AT_LIMIT = "limit"
AGENT_DONE = "done"
AGENT_FAILED = "failed"
NEEDS_INPUT = "input"
NEEDS_APPROVAL = "approval"
AGENT_UNKNOWN = "unknown"
AGENT_STATES = (
    THINKING,
    TOOL,
    AT_LIMIT,
    NEEDS_INPUT,
    NEEDS_APPROVAL,
    AGENT_UNKNOWN,
    AGENT_DONE,
    AGENT_FAILED,
)

SEND = "send"
APPROVE = "approve"
DENY = "deny"
ANSWERS = (SEND, APPROVE, DENY)

# Task states (the same words as jobs.states.TaskState; a test compares them).
PENDING = "pending"
RUNNING = "running"
SUCCEEDED = "succeeded"
FAILED = "failed"
SKIPPED = "skipped"
CANCELLED = "cancelled"
INTERRUPTED = "interrupted"
TASK_FINAL = (SUCCEEDED, FAILED, SKIPPED, CANCELLED)

WHEN = ("success", "failure", "always")
# What a task is for; synthesis reads roles, never ids or names.
ROLES = (
    "context",
    "conflicts",
    "install",
    "build",
    "test",
    "base",
    "test_base",
    "lint",
    "types",
    "proof",
    "hunks",
    "ci",
    "agent",
    "triage",
    "fix",
    "fixed",
    "synthesis",
    "custom",
)

# Exit codes of the runner itself (sysexits.h where one fits).
EXIT_OK = 0
EXIT_USAGE = 64
EXIT_DATA = 65
EXIT_NOT_FOUND = 66
EXIT_UNAVAILABLE = 69
EXIT_SOFTWARE = 70
EXIT_REFUSED = 77
EXIT_LOCKED = 75

PLACEHOLDERS = ("root", "job_dir", "worktree", "base_worktree", "cache", "runner", "python")
_PLACEHOLDER = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")
_TASK_ID = re.compile(r"^[a-z][a-z0-9-]{0,39}$")


class PlanError(ValueError):
    """A plan breaks the schema; the message names the task and the field."""


@dataclass(frozen=True)
class Task:
    """One command of a plan.

    `evidence` tasks inform the verdict: their failure is a finding. The failure of any other task fails
    the job. One with `secrets` that does not say that it `writes` has a HOME of its own and, in a container,
    a worktree that it can only read. `{worktree}` and the other `PLACEHOLDERS` are expanded in argv, shell,
    cwd and env on the worker.
    `gate` names a file of the job's directory, `<gate>.json`, that earlier tasks write: the task runs only
    when its `go_on` is true then, and is skipped with its `why` otherwise. `after`: tasks that end before it
    begins, however they end. `terminal`: it is an agent that has the pane to itself while it runs.
    """

    id: str
    name: str
    role: str = "custom"
    argv: Optional[List[str]] = None
    shell: Optional[str] = None
    needs: List[str] = field(default_factory=list)
    when: str = "success"
    timeout: int = 1800
    cwd: str = "{worktree}"
    env: Dict[str, str] = field(default_factory=dict)
    secrets: List[str] = field(default_factory=list)
    agent: Optional[str] = None
    evidence: bool = True
    outputs: Dict[str, Any] = field(default_factory=dict)
    gateway: Optional[Dict[str, Any]] = None
    gate: str = ""
    writes: bool = True
    terminal: bool = False
    after: List[str] = field(default_factory=list)

    @property
    def secret_names(self) -> List[str]:
        """Return what must be delivered for the task: its secrets, and the key that its gateway alone has."""
        key = (self.gateway or {}).get("secret")
        return [*self.secrets, *([str(key)] if key else [])]


@dataclass(frozen=True)
class Plan:
    """The tasks of a job. `parallel` caps how many run at once (null: the worker's cores).

    `ports`: variables of the tasks that each hold a port of the job's own.
    """

    job: Dict[str, Any]
    tasks: List[Task]
    parallel: Optional[int] = None
    ports: List[str] = field(default_factory=list)
    schema: str = PLAN_SCHEMA

    def to_json(self) -> Dict[str, Any]:
        """Return the plan as plain data."""
        return asdict(self)

    def dumps(self) -> str:
        """Return the plan as JSON text, stable for equal plans."""
        return json.dumps(self.to_json(), indent=1, sort_keys=True)


VARIABLE = re.compile("[A-Z][A-Z0-9_]{0,60}")


def load_plan(data: Any) -> Plan:
    """Validate plain data as a plan. Raises `PlanError`."""
    if not isinstance(data, dict) or data.get("schema") != PLAN_SCHEMA:
        raise PlanError("the plan's schema is not %r" % PLAN_SCHEMA)
    known = set(Task.__dataclass_fields__)
    tasks: List[Task] = []
    seen: Dict[str, Task] = {}
    for raw in data.get("tasks") or []:
        unknown = set(raw) - known
        if unknown:
            raise PlanError("task %r has unknown fields: %s" % (raw.get("id"), ", ".join(sorted(unknown))))
        task = Task(**raw)
        if not _TASK_ID.match(task.id):
            raise PlanError("task id %r is not lower-case letters, digits and dashes" % (task.id,))
        if task.id in seen:
            raise PlanError("two tasks have the id %r" % task.id)
        if (task.argv is None) == (task.shell is None):
            raise PlanError("task %r needs exactly one of argv and shell" % task.id)
        if task.when not in WHEN:
            raise PlanError("task %r: when is %r, not one of %s" % (task.id, task.when, ", ".join(WHEN)))
        if task.role not in ROLES:
            raise PlanError("task %r: role is %r, not one of %s" % (task.id, task.role, ", ".join(ROLES)))
        if task.gateway is not None:
            # Every start of the runner imports this module, and few plans have a gateway.
            from jobs.remote.offload_runner.gateway import spec as gateway_spec

            faults = gateway_spec.problems(task.gateway)
            if faults:
                raise PlanError("task %r: gateway: %s" % (task.id, "; ".join(faults)))
        if task.gate and not _TASK_ID.match(task.gate):
            raise PlanError("task %r: gate is not lower-case letters, digits and dashes" % task.id)
        if not isinstance(task.writes, bool):
            raise PlanError("task %r: writes is not true or false" % task.id)
        if not (isinstance(task.timeout, int) and task.timeout > 0):
            raise PlanError("task %r: timeout is not a positive number of seconds" % task.id)
        # A need must stand earlier in the list, which also rules out cycles.
        for need in [*task.needs, *task.after]:
            if need not in seen:
                raise PlanError("task %r needs %r, which is not an earlier task" % (task.id, need))
        seen[task.id] = task
        tasks.append(task)
    parallel = data.get("parallel")
    if parallel is not None and not (isinstance(parallel, int) and parallel > 0):
        raise PlanError("parallel is not a positive number")
    ports = data.get("ports") or []
    for name in ports:
        if not isinstance(name, str) or not VARIABLE.fullmatch(name):
            raise PlanError("the port %r is not the name of a variable" % (name,))
    return Plan(job=dict(data.get("job") or {}), tasks=tasks, parallel=parallel, ports=list(ports))


def expand(text: str, values: Dict[str, str]) -> str:
    """Replace `{worktree}` and the other placeholders; every other brace stays as it is."""
    return _PLACEHOLDER.sub(lambda match: values[match.group(1)], text)
