"""The inbox: one row for each target, in groups, what needs a person first, with counts, search and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from urllib.parse import urlencode

from django.db.models import Case, Exists, Max, Min, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce

from jobs import invocation
from jobs.dashboard.job.presenters import JobView
from jobs.dashboard.present import CHECKS, Mark
from jobs.models import Job, PullRequest
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
_AT_WORK = (JobState.PREPARING, JobState.RUNNING, JobState.CANCELLING)
# Name in the address -> (heading, condition on a job). A row is in the first group that has one of its jobs.
GROUPS: Mapping[str, tuple[str, Q]] = {
    "needs-you": ("Needs you", _NEEDS),
    "ready": ("Ready to act", _PRESENT & Q(state=JobState.SUCCEEDED) & ~Q(verdict=Verdict.NONE)),
    "running": ("Running", _PRESENT & Q(state__in=_AT_WORK)),
    "queued": ("Queued", _PRESENT & Q(state=JobState.QUEUED)),
    "done": ("Done", Q()),
}
_RANK = Case(
    *(When(match, then=Value(rank)) for rank, (_, match) in enumerate(GROUPS.values()) if match),
    default=Value(len(GROUPS) - 1),
)
_WHEN = Coalesce("finished_at", "started_at", "created_at")


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
        """Return the filters that leave rows out, without group and page."""
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

    @property
    def match(self) -> Q:
        """Return the condition on a job; a row is shown when one of its jobs meets it."""
        match = Q()
        for word in self.text.split():
            pulls = PullRequest.objects.filter(repository=OuterRef("repository"), number=OuterRef("number"))
            match &= (
                Q(title__icontains=word) | Q(target__icontains=word) | Q(repository__slug__icontains=word)
                | Q(name__icontains=word) | Q(action=word.lower()) | Q(session__icontains=word)
                | Q(Exists(pulls.filter(Q(title__icontains=word) | Q(author__icontains=word))))
            )  # fmt: skip
        if self.repository:
            match &= Q(repository__slug=self.repository)
        if self.worker:
            match &= Q(worker__name=self.worker)
        if self.verdict:
            newer = Job.objects.filter(
                repository=OuterRef("repository"), target=OuterRef("target"), action=OuterRef("action"),
                name=OuterRef("name"), id__gt=OuterRef("id"),
            )  # fmt: skip
            match &= Q(~Exists(newer), verdict="" if self.verdict == "none" else self.verdict)
        return match


@dataclass(frozen=True)
class Row:
    """A pull request, branch or commit: its newest job of each action and name, the one to act on first."""

    views: Sequence[JobView]
    pull: PullRequest | None

    @property
    def job(self) -> Job:
        """Return the job that puts the row into its group."""
        return self.views[0].job

    @property
    def id(self) -> str:
        """Return what names the row on the page, the same after each update."""
        kind = "target" if self.job.number is None else "pull"
        return f"{kind}-{self.job.repository_id}-{self.job.number or self.job.target}"

    @property
    def title(self) -> str:
        """Return the pull request's title, else the subject of the newest commit that is known."""
        return self.pull.title if self.pull else next((v.job.title for v in self.views if v.job.title), "")

    @property
    def checks(self) -> Mark | None:
        """Return what the forge's checks say of the head, as last read; None when it is not known."""
        if self.pull is None or not self.pull.checks or self.pull.details_sha != self.pull.head_sha:
            return None
        outcomes = [check["outcome"] for check in self.pull.checks]
        worst = next((outcome for outcome in CHECKS if outcome in outcomes), "")
        if not worst:
            return None
        icon, word, tone = CHECKS[worst]
        return Mark(icon, f"{outcomes.count(worst)} of {len(outcomes)} checks {word}", tone)


@dataclass(frozen=True)
class Group:
    """One group of the inbox: the rows on this page, and how many the group has in all."""

    key: str
    heading: str
    total: int
    rows: Sequence[Row]
    more: str  # the address that shows the whole group; empty when all rows are here


_Key = tuple[int, str]  # repository and target


@dataclass(frozen=True)
class Inbox:
    """What the inbox shows for these filters: the rows of each group, the last changed first."""

    filters: Filters
    members: Mapping[str, Sequence[_Key]]

    @classmethod
    def load(cls, filters: Filters) -> Inbox:
        """Sort the targets into groups, in one query."""
        rows = Job.objects.order_by().values("repository_id", "target")
        rows = rows.annotate(rank=Min(_RANK), when=Max(_WHEN))
        if match := filters.match:
            found = Max(Case(When(match, then=Value(1)), default=Value(0)))
            rows = rows.annotate(found=found).filter(found=1)
        members: dict[str, list[_Key]] = {key: [] for key in GROUPS}
        names = list(GROUPS)
        for repository, target, rank in rows.order_by("-when", "-repository_id", "target").values_list(
            "repository_id", "target", "rank"
        ):
            members[names[rank]].append((repository, target))
        return cls(filters, members)

    @property
    def counts(self) -> Mapping[str, int]:
        """Return how many rows each group has."""
        return {key: len(keys) for key, keys in self.members.items()}

    @cached_property
    def groups(self) -> list[Group]:
        """Return the groups that have rows: each with its newest rows, or one with a page of its rows."""
        if self.filters.group:
            first = (self.filters.page - 1) * ROWS_PER_PAGE
            page = self.members[self.filters.group][first : first + ROWS_PER_PAGE]
            shown = {self.filters.group: page}
        else:
            shown = {key: keys[:ROWS_PER_GROUP] for key, keys in self.members.items()}
        rows = _load_rows({key for keys in shown.values() for key in keys})
        return [
            Group(key, GROUPS[key][0], total, [rows[one] for one in shown[key] if one in rows], more)
            for key in shown
            if (total := self.counts[key])
            for more in [self.filters.query(group=key, page=0) if self._is_cut(key) else ""]
        ]

    def _is_cut(self, key: str) -> bool:
        return not self.filters.group and self.counts[key] > ROWS_PER_GROUP

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
        """Return how many rows the filters leave."""
        return sum(self.counts.values())

    @property
    def empty(self) -> bool:
        """Return whether there is no job at all, filters or not."""
        return not self.total and not self.filters.narrowing

    @property
    def command(self) -> str:
        """Return the command that starts a first job, as it is typed here."""
        return invocation.command("123 review")

    @property
    def title(self) -> str:
        """Return the page's title: the number of rows that need a person comes first."""
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


def _load_rows(keys: set[_Key]) -> dict[_Key, Row]:
    """Load the jobs and pull requests of some rows, in two queries."""
    repositories = {repository for repository, _ in keys}
    jobs = Job.objects.filter(repository_id__in=repositories, target__in={target for _, target in keys})
    found = {
        key: list(members)
        for key, members in groupby(_newest(jobs), key=lambda job: (job.repository_id, job.target))
        if key in keys
    }
    numbers = {members[0].number for members in found.values() if members[0].number is not None}
    pulls = {
        (pull.repository_id, f"#{pull.number}"): pull
        for pull in PullRequest.objects.filter(repository_id__in=repositories, number__in=numbers)
    }
    return {
        key: Row([JobView.of(job) for job in members], pulls.get(key) if members[0].number else None)
        for key, members in found.items()
    }


def _newest(jobs: QuerySet[Job]) -> QuerySet[Job]:
    """Return the newest of these jobs for each target, action and name; the one to act on first."""
    each = jobs.order_by().values("repository_id", "target", "action", "name")
    newest = Job.objects.filter(id__in=each.annotate(newest=Max("id")).values("newest"))
    loaded = newest.select_related("repository", "worker").defer("assessment")
    ordered = loaded.annotate(rank=_RANK, when=_WHEN)
    return ordered.order_by("repository_id", "target", "rank", "-when", "-id")
