"""The inbox: one row for each target, in groups, what needs a person first, with counts, search and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import groupby
from urllib.parse import urlencode, urlsplit

from django.db.models import Case, Exists, Max, Min, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce

from jobs import invocation, operations
from jobs.dashboard.job.presenters import JobView
from jobs.dashboard.present import ATTENTIONS, CHECKS, Mark, mark_of
from jobs.models import Draft, Job, PullRequest, WorkerRequest
from jobs.operations import InboxRow
from jobs.states import REQUEST_OPEN, Attention, DraftState, JobState, RequestKind, RequestState, Verdict

# How many rows of a group the page of all groups shows; each group has pages of its own.
ROWS_PER_GROUP: Mapping[str, int] = {
    "needs-you": 25, "ready": 10, "running": 6, "queued": 3, "waiting": 3, "no-job": 5,
    "snoozed": 3, "done": 3,
}  # fmt: skip
ROWS_PER_PAGE = 100
MOST_NAMED = 3  # checks
MOST_LABELS = 3
JOBS_PER_ROW = 3
LONGEST_SEARCH = 200
WAITING, NO_JOB, SNOOZED, DONE = "waiting", "no-job", "snoozed", "done"

_PRESENT = Q(removed_at__isnull=True)
_NEEDS = _PRESENT & (
    Q(state__in=(JobState.INTERRUPTED, JobState.FAILED))
    # A queued job that waits for a slot or a machine needs no person; one that waits for trust does.
    | (~Q(attention=Attention.NONE) & ~Q(attention=Attention.ERROR, state=JobState.QUEUED))
)
_AT_WORK = (JobState.PREPARING, JobState.RUNNING, JobState.CANCELLING)
# Name in the address -> (heading, condition on a job). A row is in the first group that has one of its jobs,
# unless a user snoozed it or marked it as done. A row that would be ready is done when its pull request is
# closed, and waits for others when a review of its head was posted since.
GROUPS: Mapping[str, tuple[str, Q]] = {
    "needs-you": ("Needs you", _NEEDS),
    "ready": ("Ready to act", _PRESENT & Q(state=JobState.SUCCEEDED) & ~Q(verdict=Verdict.NONE)),
    # `open` is a shell that stays until it is removed.
    "running": ("Running", _PRESENT & (Q(state__in=_AT_WORK) | Q(state=JobState.SUCCEEDED, action="open"))),
    "queued": ("Queued", _PRESENT & Q(state=JobState.QUEUED)),
    WAITING: ("Waiting for others", Q()),
    NO_JOB: ("No job yet", Q()),
    SNOOZED: ("Snoozed", Q()),
    DONE: ("Done", Q()),
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
    """A pull request, branch or commit: its newest job of each action and name, the one to act on first.

    An open pull request without a job has no `views`. `removal` is the last request to remove the first job,
    when it is open or failed.
    """

    place: InboxRow
    views: Sequence[JobView]
    pull: PullRequest | None
    removal: WorkerRequest | None = None
    dismissed: bool = False
    snoozed_until: datetime | None = None

    @property
    def job(self) -> Job:
        """Return the job that puts the row into its group."""
        return self.views[0].job

    @property
    def chips(self) -> Sequence[JobView]:
        """Return the jobs that the row has room for, the one to act on first."""
        return self.views[:JOBS_PER_ROW]

    @property
    def more_jobs(self) -> int:
        """Return how many jobs the row has no room for."""
        return max(0, len(self.views) - JOBS_PER_ROW)

    @property
    def further(self) -> str:
        """Return the jobs that the row has no room for, in words."""
        rest = self.views[JOBS_PER_ROW:]
        return ", ".join(f"{v.job.action}{':' if v.job.name else ''}{v.job.name} {v.chip.word}" for v in rest)

    @property
    def id(self) -> str:
        """Return what names the row on the page, the same after each update."""
        return f"row-{self.place.repository_id}-{self.place.target.replace('#', 'pull-')}"

    @property
    def key(self) -> str:
        """Return what names the row in a form."""
        return f"{self.place.repository_id}:{self.place.target}"

    @property
    def reason(self) -> str:
        """Return in one line why the row is where it is."""
        if self.removal is None:
            return self.views[0].headline
        again = self.removal.parameters.get("again")
        if self.removal.is_open:
            return "Starts again when its files are removed." if again else "Its files are being removed."
        return f"{'Running it again' if again else 'Removing it'} failed. {self.removal.error}"

    @property
    def mark(self) -> Mark:
        """Return what the first job waits for a person to do, else its verdict or state."""
        waits = "" if self.job.has_ended else self.job.attention
        return mark_of(ATTENTIONS, waits) if waits in ATTENTIONS else self.views[0].chip

    @property
    def can_run_again(self) -> bool:
        """Return whether the first job can be run again now."""
        return not self.job.is_active and not (self.removal and self.removal.is_open)

    @property
    def title(self) -> str:
        """Return the pull request's title, else the subject of the newest commit that is known."""
        return self.pull.title if self.pull else next((v.job.title for v in self.views if v.job.title), "")

    @property
    def pull_url(self) -> str:
        """Return the pull request's page on its forge, or an empty text when it has no web address."""
        url = self.pull.url if self.pull else ""
        return url if urlsplit(url).scheme in ("http", "https") else ""

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
        told = f"{outcomes.count(worst)} of {len(outcomes)} checks {word}"
        if worst == "failure":
            names = [check["name"] for check in self.pull.checks if check["outcome"] == worst]
            told += f": {', '.join(names[:MOST_NAMED])}{', …' if len(names) > MOST_NAMED else ''}"
        return Mark(icon, told, tone)

    @property
    def threads(self) -> str:
        """Return how many threads are not resolved, in words; empty when none is known to be."""
        count = (self.pull.unresolved_threads or 0) if self.pull and self.pull.state == "open" else 0
        return f"{count} open thread{'s' if count > 1 else ''}" if count else ""

    @property
    def tags(self) -> list[str]:
        """Return short facts of the pull request and its first labels, the most important first."""
        if self.pull is None:
            return []
        closed = "" if self.pull.state == "open" else self.pull.state
        facts = ["draft" if self.pull.draft else "", closed, self.threads]
        return [*filter(None, facts), *self.pull.labels[:MOST_LABELS]]


@dataclass(frozen=True)
class Group:
    """One group of the inbox: the rows on this page, and how many the group has in all."""

    key: str
    heading: str
    total: int
    rows: Sequence[Row]
    more: str  # the address that shows the whole group; empty when all rows are here


@dataclass(frozen=True)
class Inbox:
    """What the inbox shows for these filters: the rows of each group, the last changed first."""

    filters: Filters
    members: Mapping[str, Sequence[InboxRow]]
    dismissed: Mapping[InboxRow, datetime | None]
    seen: int

    @classmethod
    def load(cls, filters: Filters) -> Inbox:
        """Sort the targets into groups, in six queries."""
        seen, dismissed = operations.newest_event(), operations.list_dismissed()
        members: dict[str, list[InboxRow]] = {key: [] for key in GROUPS}
        names = list(GROUPS)

        def add(row: InboxRow, group: str) -> None:
            members[group if row not in dismissed else SNOOZED if dismissed[row] else DONE].append(row)

        closed = {
            InboxRow(repository, f"#{number}")
            for repository, number in PullRequest.objects.exclude(state="open").values_list(
                "repository_id", "number"
            )
        }
        posted = _posted()
        for repository, target, rank, when in _ranked(filters):
            row, group = InboxRow(repository, target), names[rank]
            if group == "ready" and row in closed:
                group = DONE
            elif group == "ready" and row in posted and when <= posted[row]:
                group = WAITING
            add(row, group)
        for repository, number in _without_job(filters):
            add(InboxRow(repository, f"#{number}"), NO_JOB)
        return cls(filters, members, dismissed, seen)

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
            shown = {key: keys[: ROWS_PER_GROUP[key]] for key, keys in self.members.items()}
        rows = self._load_rows({row for members in shown.values() for row in members})
        return [
            Group(key, GROUPS[key][0], total, [rows[one] for one in shown[key] if one in rows], more)
            for key in shown
            if (total := self.counts[key])
            for more in [self.filters.query(group=key, page=0) if self._is_cut(key) else ""]
        ]

    def _is_cut(self, key: str) -> bool:
        return not self.filters.group and self.counts[key] > ROWS_PER_GROUP[key]

    def _load_rows(self, wanted: set[InboxRow]) -> dict[InboxRow, Row]:
        """Load the jobs, pull requests and removals of some rows, in three queries."""
        repositories = {row.repository_id for row in wanted}
        targets = {row.target for row in wanted}
        jobs = _newest(Job.objects.filter(repository_id__in=repositories, target__in=targets))
        found = {
            row: list(members)
            for row, members in groupby(jobs, key=lambda job: InboxRow(job.repository_id, job.target))
        }
        numbers = {int(target[1:]) for target in targets if target[:1] == "#" and target[1:].isdigit()}
        pulls = {
            InboxRow(pull.repository_id, f"#{pull.number}"): pull
            for pull in PullRequest.objects.select_related("repository")
            .filter(repository_id__in=repositories, number__in=numbers)
            .defer("threads", "reviews", "rules", "failures")
        }
        removals = {
            request.job_id: request
            for request in WorkerRequest.objects.filter(
                job__in=[members[0] for members in found.values()],
                job__removed_at=None,
                kind=RequestKind.REMOVE_JOB,
            )
        }
        shown = (*REQUEST_OPEN, RequestState.FAILED)
        return {
            row: Row(
                place=row,
                views=[JobView.of(job) for job in members],
                pull=pulls.get(row),
                removal=removal if removal is not None and removal.state in shown else None,
                dismissed=row in self.dismissed,
                snoozed_until=self.dismissed.get(row),
            )
            for row in wanted
            for members in [found.get(row, [])]
            for removal in [removals.get(members[0].id) if members else None]
            if members or row in pulls
        }

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
    def has_unreviewed(self) -> bool:
        """Return whether open pull requests without a job are shown."""
        return bool(self.members[NO_JOB]) and self.filters.group in ("", NO_JOB)

    @property
    def empty(self) -> bool:
        """Return whether there is no job and no pull request at all, filters or not."""
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


def _ranked(filters: Filters) -> QuerySet[Job, tuple[int, str, int, datetime]]:
    """Return repository, target, group's number and last change of each target, the newest first."""
    rows = Job.objects.order_by().values("repository_id", "target")
    rows = rows.annotate(rank=Min(_RANK), when=Max(_WHEN))
    if match := filters.match:
        found = Max(Case(When(match, then=Value(1)), default=Value(0)))
        rows = rows.annotate(found=found).filter(found=1)
    ordered = rows.order_by("-when", "-repository_id", "target")
    return ordered.values_list("repository_id", "target", "rank", "when")


def _posted() -> dict[InboxRow, datetime]:
    """Return when a review was last posted of each pull request whose head is still the reviewed one."""
    pulls = PullRequest.objects.filter(
        repository=OuterRef("repository"), number=OuterRef("number"), head_sha=OuterRef("head_sha")
    )
    sent = Draft.objects.filter(Exists(pulls), state=DraftState.SENT, sent_at__isnull=False).order_by(
        "sent_at"
    )
    values = sent.values_list("repository_id", "number", "sent_at")
    return {InboxRow(repository, f"#{number}"): at for repository, number, at in values if at}


def _without_job(filters: Filters) -> QuerySet[PullRequest, tuple[int, int]]:
    """Return repository and number of the open pull requests that have no job, the last changed first."""
    if filters.worker or filters.verdict:
        return PullRequest.objects.none().values_list("repository_id", "number")
    jobs = Job.objects.filter(repository=OuterRef("repository"), number=OuterRef("number"))
    pulls = PullRequest.objects.filter(~Exists(jobs), state="open")
    for word in filters.text.split():
        pulls = pulls.filter(
            Q(title__icontains=word) | Q(author__icontains=word) | Q(repository__slug__icontains=word)
            | Q(number=int(word.lstrip("#")) if word.lstrip("#").isdecimal() and len(word) < 10 else 0)
        )  # fmt: skip
    if filters.repository:
        pulls = pulls.filter(repository__slug=filters.repository)
    return pulls.order_by("-updated_at", "-id").values_list("repository_id", "number")


def _newest(jobs: QuerySet[Job]) -> QuerySet[Job]:
    """Return the newest of these jobs for each target, action and name; the one to act on first."""
    each = jobs.order_by().values("repository_id", "target", "action", "name")
    newest = Job.objects.filter(id__in=each.annotate(newest=Max("id")).values("newest"))
    loaded = newest.select_related("repository", "worker").defer("assessment")
    ordered = loaded.annotate(rank=_RANK, when=_WHEN)
    return ordered.order_by("repository_id", "target", "rank", "-when", "-id")
