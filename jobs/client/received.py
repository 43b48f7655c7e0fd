"""Rows made of the JSON of an answer, so that they are printed as those of the database. Never saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar, cast

from jobs.errors import ProtocolMismatch
from jobs.execution import Account, Known
from jobs.models import Job, Pool, PullRequest, Repository, Worker
from jobs.operations import ObservedPull
from jobs.providers.base import Price
from jobs.serializers import AccountJson, JobCostJson, JobJson, PullJson
from jobs.serializers.known import KnownJson
from jobs.states import Attention, JobState, Reason, Verdict
from jobs.workers.costs import JobCost

Data = Mapping[str, Any]
T = TypeVar("T")


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def checked(kind: type[T], data: object, what: str) -> T:
    """Return data that have the keys and types of a serializer's `kind`. Raises `ProtocolMismatch`.

    `what` they describe, for the message. Keys of a later version stay.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(kind).validate_python(data, strict=True)
    except (ValidationError, RecursionError) as error:
        first = error.errors(include_input=False)[0] if isinstance(error, ValidationError) else None
        where = ".".join(map(str, first["loc"][:3])) if first else ""
        why = f"{where}: {first['msg']}" if first else "nested too deeply"
        raise _mismatch(what, why) from error
    return cast(T, data)


def _mismatch(what: str, why: str) -> ProtocolMismatch:
    return ProtocolMismatch(
        f"The dashboard describes {what} in an unknown way ({why[:200]}).",
        hint="Use the same version of Offload here and there: `offload version`.",
    )


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Raise `ProtocolMismatch` for whatever a reader stumbles over."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise _mismatch(what, f"{type(error).__name__}: {error}") from error


def read_job_json(data: object) -> Job:
    """Return a job from its JSON. Raises `ProtocolMismatch` when it is of another version."""
    with _reading("a job"):
        return _read_job(checked(JobJson, data, "a job"))


def _read_job(data: Data) -> Job:
    isolation = data["isolation"]
    config = {} if isolation == "none" else {"container": {"isolation": isolation}}
    known = {
        "state": JobState(data["state"]).value,
        "reason": Reason(data["reason"]).value if data["reason"] else "",
        "attention": Attention(data["attention"] or "").value,
        "verdict": Verdict(data["verdict"] or "").value,
    }
    texts = (
        "title",
        "url",
        "name",
        "reason_detail",
        "sha",
        "judged_sha",
        "moved_to",
        "base_ref",
        "base_sha",
        "image",
        "worktree",
    )
    moments = ("created_at", "started_at", "finished_at", "observed_at", "archived_at", "removed_at")
    job = Job(
        repository=Repository(slug=data["repository"], short=data["repository"]),
        worker=Worker(name=data["worker"], state=data["worker_state"], config=config),
        pool=Pool(name=data["pool"]) if data["pool"] else None,
        **{key: data[key] for key in ("id", "session", "number", "ref", "target", "action", "proof")},
        **{key: data[key] or "" for key in texts},
        **{key: _moment(data[key]) for key in moments},
        attention_until=_moment(data["attention_until"]),
        **known,
        tasks=[dict(task) for task in data["tasks"]],
        findings=data["findings"],
        options={
            "agent": data["agent"] or "",
            "prompt": data["prompt"] or "",
            "base": data["base_option"] or "",
            "rounds": data["rounds"] or 0,
            "secrets": data["secrets"],
            "agent_secrets": data["agent_secrets"],
            "placement": data["placement"] or "",
        },
    )
    job.received = data  # type: ignore[attr-defined]  # for `jobs.client.json_of`
    return job


def read_cost_json(data: Data | None) -> JobCost | None:
    """Return what a job has cost from its JSON."""
    if data is None:
        return None
    data = checked(JobCostJson, data, "a job's cost")
    hours = data["hours"]
    price = Price(
        data["amount"] / hours if hours else 0.0, 0.0, data["as_of"], data["source"], data["currency"]
    )
    return JobCost(price, hours)


def read_account_json(data: Data) -> Account:
    """Return what is known of a job from its JSON."""
    with _reading("what is known of a job"):
        told = checked(AccountJson, data, "what is known of a job")
        state, attention, agent = map(_read_known, (told["state"], told["attention"], told["agent"]))
        return Account(state or Known("", ""), attention, agent, told["no_input"] or "")


def _read_known(data: KnownJson | None) -> Known | None:
    if data is None:
        return None
    return Known(
        data["value"], data["source"], detail=data["detail"] or "", evidence=data["evidence"] or "",
        since=_moment(data["since"]), until=_moment(data["until"]),
    )  # fmt: skip


def read_pull_json(data: object) -> PullRequest:
    """Return a pull request from its JSON. Raises `ProtocolMismatch` when it is of another version."""
    with _reading("a pull request"):
        return _read_pull(checked(PullJson, data, "a pull request"))


def _read_pull(data: Data) -> PullRequest:
    texts = ("title", "author", "state", "base_ref", "head_ref", "head_sha")
    known = data["checks"] is not None
    fetched = datetime.fromisoformat(data["fetched_at"])
    row = PullRequest(
        repository=Repository(slug=data["repository"]),
        number=data["number"],
        draft=data["draft"],
        url=data["url"] or "",
        labels=data["labels"],
        updated_at=_moment(data["updated_at"]),
        fetched_at=fetched,
        details_at=fetched if known else None,
        base_sha=data["base_sha"] or "",
        details_sha=data["details_sha"] or "",
        unresolved_threads=data["unresolved_threads"],
        **{key: data[key] for key in texts},
    )
    if known:
        for key in ("mergeable", "checks", "linked_issues", "additions", "deletions", "changed_files"):
            setattr(row, key, data[key])
    if data["blocks"] is not None:
        for key in ("threads", "reviews", "rules", "failures"):
            setattr(row, key, data[key])
    return row


def read_observed_pull_json(data: Data) -> ObservedPull:
    """Return a pull request with what follows from it, from its JSON."""
    with _reading("a pull request"):
        found = ObservedPull.of(read_pull_json(data))
        return replace(found, blocks=data["blocks"] or [], unknown=data["unknown"] or [])
