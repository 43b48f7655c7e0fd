"""A worker as pages show it: its state and why, when it stops, what it costs. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from jobs.dashboard.job.presenters import JobView
from jobs.dashboard.present import WORKER_STATES, Mark, mark_of
from jobs.dashboard.workers.load import LoadView
from jobs.formats import format_duration, format_money
from jobs.models import Job, JobEvent, Worker, WorkerRequest
from jobs.providers.base import Price
from jobs.states import RequestKind, WorkerDesired, WorkerState
from jobs.workers.costs import Cost, JobCost
from jobs.workers.idle import Idle, Parts, idle_of, in_zone, with_moments
from jobs.workers.machines import is_cloud

# Why a machine is down that Offload did not stop.
DOWN: Mapping[str, tuple[str, str, str]] = {
    "preempted": ("bolt", "preempted", "warn"),
    "deadline": ("clock", "stopped at its deadline", "quiet"),
    "guest": ("clock", "turned itself off", "quiet"),
    "host_error": ("bolt", "its host failed", "warn"),
    "maintenance": ("bolt", "its host is in maintenance", "warn"),
    "stopped": ("alert", "stopped from outside", "warn"),
}
KINDS: Mapping[str, str] = {"gce-cos": "Compute Engine", "local": "this machine"}
_BY_LINE = (WorkerState.READY, WorkerState.UNREACHABLE)
_UP = (WorkerState.READY, WorkerState.UNREACHABLE, WorkerState.BOOTING, WorkerState.CREATING)
KEEP_HOURS = (1, 4, 12)


def clock(moment: datetime, now: datetime | None = None) -> SafeString:
    """Return a moment that the page shows in the reader's own time, with the time in UTC as its title."""
    return format_html(
        '<time datetime="{}" data-clock title="{} UTC">{}</time>',
        moment.isoformat(), f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}", in_zone([moment], now=now),
    )  # fmt: skip


def html(parts: Parts) -> SafeString:
    """Return a text with its moments as clocks; the text is text, whatever is in it."""
    shown = ((part if isinstance(part, str) else clock(part),) for part in parts)
    return format_html_join("", "{}", shown)


def estimate(price: Price) -> SafeString:
    """Return the words that mark an amount as an estimate, with the price table's source behind its date."""
    words = f"estimate, prices of {price.as_of}"
    if not price.source.startswith("https://"):
        return format_html('<span title="{}">{}</span>', price.source, words)
    return format_html(
        '<a href="{}" title="The table and its source: {}" rel="noopener noreferrer" target="_blank">{}</a>',
        price.source, price.source, words,
    )  # fmt: skip


@dataclass(frozen=True)
class StopView:
    """When a machine stops. `ends`: the moment is known and is not only its deadline."""

    sentence: SafeString
    soon: bool
    ends: bool
    can_keep: bool
    kept: SafeString

    @classmethod
    def of(cls, worker: Worker) -> StopView | None:
        """Present when a worker stops; None when that is unknown."""
        said = idle_of(worker)
        if said is None:
            return None
        kept = SafeString("")
        if said.kept_until is not None:
            by = (worker.facts.get("kept") or {}).get("by")
            kept = html(["Kept until ", said.kept_until, f" on request{f' of {by}' if by else ''}."])
        soon = said.is_soon()
        ends = soon or said.stops_at is not None
        return cls(html(said.parts), soon, ends, _ends_by_itself(said), kept)

    @property
    def text(self) -> SafeString:
        """Return one sentence with one time: until when it is kept, unless it stops before that."""
        return self.kept if self.kept and not self.soon else self.sentence

    @property
    def icon(self) -> str:
        """Return the icon, so that colour is not the only sign."""
        return "alert" if self.soon else "clock"


def _ends_by_itself(said: Idle) -> bool:
    return said.stops_at is not None and (said.deadline is None or said.stops_at < said.deadline)


@dataclass(frozen=True)
class CostView:
    """What a worker costs, in words."""

    hour: str
    month: str
    so_far: str
    hours: str
    estimate: SafeString

    @classmethod
    def of(cls, cost: Cost) -> CostView:
        """Present a cost."""
        unit = cost.price.currency
        return cls(
            format_money(cost.price.running, unit), format_money(cost.month, unit),
            format_money(cost.so_far, unit), format_duration(cost.hours * 3600), estimate(cost.price),
        )  # fmt: skip


@dataclass(frozen=True)
class JobCostView:
    """What a job costs, in words."""

    amount: str
    hours: str
    estimate: SafeString

    @classmethod
    def of(cls, cost: JobCost) -> JobCostView:
        """Present a cost."""
        hours = format_duration(cost.hours * 3600)
        return cls(format_money(cost.amount, cost.price.currency), hours, estimate(cost.price))


@dataclass(frozen=True)
class WorkerCard:
    """A worker as its page shows it. `jobs`: those at work or waiting there; `events`: newest first.

    `requests`: those that are open; `error`: why the last one failed, if it did.
    """

    worker: Worker
    jobs: Sequence[JobView] = ()
    cost: CostView | None = None
    events: Sequence[tuple[JobEvent, SafeString]] = ()
    stop: StopView | None = None
    is_cloud: bool = False
    requests: Sequence[WorkerRequest] = ()
    error: str = ""
    load: LoadView | None = None
    keep_hours: Sequence[int] = field(default=KEEP_HOURS)

    @classmethod
    def of(
        cls,
        worker: Worker,
        jobs: Sequence[Job],
        events: Sequence[JobEvent],
        cost: Cost | None,
        requests: Sequence[WorkerRequest] = (),
        error: str = "",
    ) -> WorkerCard:
        """Present a worker; `jobs` with their repositories."""
        told = [(event, html(text)) for event in events if (text := event_parts(event))]
        shown = CostView.of(cost) if cost is not None else None
        return cls(
            worker, [JobView.of(job) for job in jobs], shown, told, StopView.of(worker), is_cloud(worker),
            requests, error, LoadView.of(worker, jobs),
        )  # fmt: skip

    @property
    def mark(self) -> Mark:
        """Return the state as a mark; for a machine that is down unexpectedly, the cause."""
        state, facts = self.worker.state, self.worker.facts
        if (
            state == WorkerState.STOPPED
            and self.worker.desired == WorkerDesired.UP
            and facts.get("down") in DOWN
        ):
            return Mark(*DOWN[facts["down"]])
        return mark_of(WORKER_STATES, state)

    @property
    def kind(self) -> Sequence[str]:
        """Return the kind of machine: type, zone, project."""
        config, provider = {**self.worker.config, **self.worker.facts}, self.worker.provider
        spec = config.get("spec") or {}
        words = [
            KINDS.get(provider, provider), spec.get("machine_type") or spec.get("size"),
            "spot" if config.get("spot", spec.get("spot")) else "", config.get("zone"), config.get("project"),
            "simulated" if config.get("simulated") else "",
        ]  # fmt: skip
        return list(dict.fromkeys(str(word) for word in words if word))

    @property
    def reason(self) -> SafeString:
        """Return what was observed."""
        return html(with_moments(self.worker.state_detail))

    @property
    def known_from(self) -> str:
        """Return the source of the state."""
        if self.worker.provider == "local":
            return "checked"
        return "checked over ssh," if self.worker.state in _BY_LINE else "told by its provider,"

    @property
    def pending(self) -> SafeString:
        """Return the requests that are not carried out yet."""
        told: list[str | datetime] = []
        for request in self.requests:
            if request.kind in (RequestKind.START, RequestKind.STOP):
                word = "Start" if request.kind == RequestKind.START else "Stop"
                told.append(f"{word} requested by {request.actor}. ")
            elif request.kind == RequestKind.REBUILD:
                by = f", requested by {request.actor}" if request.actor else ""
                told.append(f"It is being rebuilt{by}. ")
            elif request.kind == RequestKind.KEEP:
                until = datetime.fromisoformat(request.parameters["until"])
                if until > timezone.now():
                    told += ["Requested to stay up until ", until, ". "]
                else:
                    told.append("Requested not to be kept up any longer. ")
        return html(told)

    @property
    def failed(self) -> str:
        """Return why the last request failed; empty when it did not."""
        return self.error

    @property
    def can_start(self) -> bool:
        """Return whether there is a stopped machine to start."""
        return self.is_cloud and self.worker.state == WorkerState.STOPPED

    @property
    def can_stop(self) -> bool:
        """Return whether there is a machine to stop."""
        return self.is_cloud and self.worker.state in _UP

    @property
    def can_rebuild(self) -> bool:
        """Return whether there is a machine to make again, and none is being made."""
        rebuilt = any(request.kind == RequestKind.REBUILD for request in self.requests)
        return self.is_cloud and not rebuilt and self.worker.state in (*_BY_LINE, WorkerState.STOPPED)

    @property
    def can_keep(self) -> bool:
        """Return whether the machine can be kept up."""
        return self.is_cloud and self.worker.state in _BY_LINE


def _text(data: Mapping[str, Any], key: str) -> str:
    return str(data.get(key) or "")


def event_parts(event: JobEvent) -> Parts:
    """Return an event as text with its moments; empty for an event that is not shown."""
    data = event.data
    if event.kind == "worker_state":
        return with_moments(
            f"{_text(data, 'state').capitalize()}: {_text(data, 'detail')}".removesuffix(": ")
        )
    if event.kind == "idle":
        if data.get("stops_at"):
            return with_moments(f"Stops at {data['stops_at']} because {_text(data, 'because')}.")
        return with_moments(f"Stays up because {_text(data, 'because')}.")
    if event.kind == "asked":
        if _text(data, "what") == "keep" and data.get("hours"):
            return with_moments(f"Asked to stay up until {_text(data, 'until')}")
        return [
            {"keep": "Asked to end the keeping", "start": "Asked to start"}.get(data["what"], "Asked to stop")
        ]
    if event.kind == "kept":
        return with_moments(f"Kept until {data['until']}") if data.get("until") else ["Kept no longer"]
    if event.kind == "failed":
        return with_moments(_text(data, "text"))
    return ["Its data disk was deleted"] if event.kind == "disk_gone" else []
