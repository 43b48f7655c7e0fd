"""The inbox: jobs in groups, what needs a person first, with exact counts, search, filters and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlencode

from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Coalesce

from jobs import invocation
from jobs.dashboard.job.presenters import JobView
from jobs.models import Job
from jobs.states import Attention, JobState, Verdict

ROWS_PER_GROUP = 25
ROWS_PER_PAGE = 100
LONGEST_SEARCH = 200

_PRESENT = Q(removed_at__isnull=True)
_NEEDS = _PRESENT & (
    Q(state__in=(JobState.INTERRUPTED, JobState.FAILED))
    # A queued job that waits for a slot or a machine needs no person; one that waits for trust does.
    | (~Q(attention=Attention.NONE) & ~Q(attention=Attention.ERROR, state=JobState.QUEUED))
)
_READY = _PRESENT & ~_NEEDS & Q(state=JobState.SUCCEEDED) & ~Q(verdict=Verdict.NONE)
_RUNNING = _PRESENT & ~_NEEDS & Q(state__in=(JobState.PREPARING, JobState.RUNNING, JobState.CANCELLING))
_QUEUED = _PRESENT & ~_NEEDS & Q(state=JobState.QUEUED)
_DONE = ~_PRESENT | Q(state=JobState.CANCELLED) | Q(state=JobState.SUCCEEDED, verdict=Verdict.NONE)
# Name in the address -> (heading, condition). Each job is in exactly one group.
GROUPS: Mapping[str, tuple[str, Q]] = {
    "needs-you": ("Needs you", _NEEDS),
    "ready": ("Ready to act", _READY),
    "running": ("Running", _RUNNING),
    "queued": ("Queued", _QUEUED),
    "done": ("Done", _DONE & ~_NEEDS),
}


@dataclass(frozen=True)
class Filters:
    """The filters in the address. An unknown value of `group` shows all groups."""

    text: str = ""
    repository: str = ""
    worker: str = ""
    verdict: str = ""
    group: str = ""
    page: int = 1

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Filters:
        """Read the filters from the address's query."""
        page = query.get("page", "1")
        return cls(
            text=query.get("q", "").strip()[:LONGEST_SEARCH],
            repository=query.get("repository", ""),
            worker=query.get("worker", ""),
            verdict=query.get("verdict", ""),
            group=query.get("group", "") if query.get("group") in GROUPS else "",
            page=int(page) if page.isdigit() and 0 < len(page) < 7 and int(page) else 1,
        )

    @property
    def narrowing(self) -> dict[str, str]:
        """Return the filters that leave jobs out, without group and page."""
        given = {
            "q": self.text, "repository": self.repository, "worker": self.worker, "verdict": self.verdict,
        }  # fmt: skip
        return {name: value for name, value in given.items() if value}

    def query(self, **changes: str | int) -> str:
        """Return the address's query with some values changed: `?q=x&group=done&page=2`."""
        page = {"page": self.page} if self.page > 1 else {}
        group = {"group": self.group} if self.group else {}
        values = {**self.narrowing, **group, **page, **changes}
        values = {name: value for name, value in values.items() if value}
        return f"?{urlencode(values)}" if values else ""

    def apply(self, jobs: QuerySet[Job]) -> QuerySet[Job]:
        """Return the jobs that the filters leave, in all groups."""
        for word in self.text.split():
            jobs = jobs.filter(
                Q(title__icontains=word) | Q(target__icontains=word) | Q(repository__slug__icontains=word)
                | Q(name__icontains=word) | Q(action=word.lower()) | Q(session__icontains=word)
            )  # fmt: skip
        if self.repository:
            jobs = jobs.filter(repository__slug=self.repository)
        if self.worker:
            jobs = jobs.filter(worker__name=self.worker)
        if self.verdict:
            jobs = jobs.filter(verdict="" if self.verdict == "none" else self.verdict)
        return jobs


@dataclass(frozen=True)
class Group:
    """One group of the inbox: the rows on this page, and how many jobs the group has in all."""

    key: str
    heading: str
    total: int
    rows: Sequence[JobView]
    more: str  # the address that shows the whole group; empty when all rows are here


@dataclass(frozen=True)
class Inbox:
    """What the inbox shows for these filters."""

    filters: Filters
    counts: Mapping[str, int]

    @classmethod
    def load(cls, filters: Filters) -> Inbox:
        """Count the jobs of each group."""
        jobs = filters.apply(Job.objects.all())
        counted = {key.replace("-", "_"): Count("id", filter=match) for key, (_, match) in GROUPS.items()}
        found = jobs.order_by().aggregate(**counted)
        return cls(filters, {key: found[key.replace("-", "_")] for key in GROUPS})

    @cached_property
    def groups(self) -> list[Group]:
        """Return the groups that have jobs: each with its newest rows, or one with a page of its rows."""
        chosen = [self.filters.group] if self.filters.group else list(GROUPS)
        return [self._group(key) for key in chosen if self.counts[key]]

    def _group(self, key: str) -> Group:
        heading, match = GROUPS[key]
        jobs = self.filters.apply(Job.objects.filter(match)).select_related("repository", "worker")
        jobs = jobs.defer("assessment").order_by(
            Coalesce("finished_at", "started_at", "created_at").desc(), "-id"
        )
        if self.filters.group:
            first = (self.filters.page - 1) * ROWS_PER_PAGE
            rows = jobs[first : first + ROWS_PER_PAGE]
        else:
            rows = jobs[:ROWS_PER_GROUP]
        total = self.counts[key]
        more = "" if self.filters.group or total <= ROWS_PER_GROUP else self.filters.query(group=key, page=0)
        return Group(key, heading, total, [JobView.of(job) for job in rows], more)

    @property
    def tabs(self) -> list[tuple[str, str, int, bool]]:
        """Return the links to all groups and to each: (address, heading, count, whether it is shown)."""
        tabs = [(self.filters.query(group="", page=0) or "?", "All", self.total, not self.filters.group)]
        for key, count in self.counts.items():
            address = self.filters.query(group=key, page=0)
            tabs.append((address, GROUPS[key][0], count, key == self.filters.group))
        return tabs

    @property
    def total(self) -> int:
        """Return how many jobs the filters leave."""
        return sum(self.counts.values())

    @property
    def empty(self) -> bool:
        """Return whether there is no job at all, filters or not."""
        return not self.total and not self.filters.narrowing and not Job.objects.exists()

    @property
    def command(self) -> str:
        """Return the command that starts a first job, as it is typed here."""
        return invocation.command("123 review")

    @property
    def title(self) -> str:
        """Return the page's title: the number of jobs that need a person comes first."""
        needs = self.counts["needs-you"]
        return f"({needs}) Jobs · Offload" if needs else "Jobs · Offload"

    @property
    def pages(self) -> int:
        """Return how many pages the chosen group has."""
        total = self.counts[self.filters.group] if self.filters.group else 0
        return max(1, -(-total // ROWS_PER_PAGE))

    @property
    def previous_page(self) -> str:
        """Return the query of the page before, or an empty text."""
        return self.filters.query(page=self.filters.page - 1) if 1 < self.filters.page <= self.pages else ""

    @property
    def next_page(self) -> str:
        """Return the query of the next page, or an empty text."""
        return self.filters.query(page=self.filters.page + 1) if self.filters.page < self.pages else ""
