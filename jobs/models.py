"""What Offload remembers: workers, repositories, jobs and their events.

State columns (`state`, `reason`, `attention`, `attention_until`, `verdict`) are written by
`jobs.transitions` alone.
The journal on the worker is the truth about a job; a `Job` row is what was last read from it.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from jobs.states import (
    JOB_ACTIVE,
    JOB_ENDED,
    JOB_RESUMABLE,
    REASON_TEXT,
    REQUEST_OPEN,
    Attention,
    DraftKind,
    DraftState,
    JobState,
    Reason,
    RequestKind,
    RequestState,
    Verdict,
    WorkerDesired,
    WorkerState,
)


def _choices(enum: type) -> list[tuple[str, str]]:
    return [(member.value, member.name.replace("_", " ").capitalize()) for member in enum]  # type: ignore[attr-defined]


class Pool(models.Model):
    """Workers of one class. Jobs ask for the class; with a template, workers are made when they are needed.

    An empty `provider` means that there is no template: only workers that were added to the pool are in it.
    """

    name = models.SlugField(max_length=40, unique=True)
    provider = models.CharField(max_length=32, blank=True)
    config = models.JSONField(default=dict, blank=True, help_text="The settings of a new worker.")
    root = models.CharField(max_length=500, blank=True, help_text="Offload's root on a new worker.")
    minimum = models.PositiveIntegerField(default=0, help_text="Machines that are up at any time.")
    warm = models.PositiveIntegerField(default=0, help_text="Machines that are up without a job.")
    maximum = models.PositiveIntegerField(default=0, help_text="Workers that Offload may make.")
    jobs_per_worker = models.PositiveIntegerField(default=0, help_text="0: as measured on the worker.")
    price = models.FloatField(null=True, blank=True, help_text="USD an hour of one machine; null: unknown.")
    ceiling = models.FloatField(null=True, blank=True, help_text="USD an hour of all machines; null: none.")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Worker(models.Model):
    """A machine that runs jobs."""

    name = models.SlugField(max_length=63, unique=True)
    provider = models.CharField(max_length=32)
    config = models.JSONField(default=dict, blank=True, help_text="The user's settings; never a secret.")
    facts = models.JSONField(
        default=dict, blank=True, help_text="What was observed of the machine; see `jobs.workers.records`."
    )
    root = models.CharField(max_length=500, help_text="Absolute path of Offload's root on the worker.")
    desired = models.CharField(max_length=16, choices=_choices(WorkerDesired), default=WorkerDesired.UP.value)
    state = models.CharField(max_length=16, choices=_choices(WorkerState), default=WorkerState.ABSENT.value)
    state_detail = models.TextField(blank=True, help_text="What was observed, in words.")
    state_since = models.DateTimeField(default=timezone.now)
    observed_at = models.DateTimeField(null=True, blank=True)
    pool = models.ForeignKey(Pool, on_delete=models.SET_NULL, null=True, blank=True, related_name="workers")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Repository(models.Model):
    """A git repository that jobs are run for."""

    slug = models.CharField(max_length=200, unique=True, help_text="owner/name, or the name of a local path.")
    short = models.SlugField(max_length=60, unique=True, help_text="The part used in session names.")
    url = models.CharField(max_length=1000, unique=True, help_text="What git fetches from.")
    forge = models.CharField(max_length=32, default="plain")
    base = models.CharField(max_length=255, blank=True, help_text="Base branch; empty: the remote's HEAD.")
    trusted_at = models.DateTimeField(null=True, blank=True)
    trusted_by = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["slug"]
        verbose_name_plural = "repositories"

    def __str__(self) -> str:
        return self.slug


class Job(models.Model):
    """One target x one action on one repository, optionally named."""

    repository = models.ForeignKey(Repository, on_delete=models.PROTECT, related_name="jobs")
    worker = models.ForeignKey(
        Worker,
        on_delete=models.PROTECT,
        related_name="jobs",
        help_text="Where it runs; of a job of a pool that has not started, the one that it would get.",
    )
    pool = models.ForeignKey(Pool, on_delete=models.SET_NULL, null=True, blank=True, related_name="jobs")
    batch = models.BooleanField(default=False, help_text="No one waits for it: others start first.")
    session = models.CharField(max_length=200)
    number = models.PositiveIntegerField(
        null=True, blank=True, help_text="Pull request number, if it is one."
    )
    ref = models.CharField(max_length=500, help_text="The full ref (or sha) that git fetches as head.")
    target = models.CharField(max_length=500, help_text="The target as shown: #123 or a branch.")
    title = models.CharField(max_length=500, blank=True)
    url = models.CharField(max_length=1000, blank=True, help_text="The target's page on its forge.")
    action = models.CharField(max_length=32)
    name = models.CharField(max_length=64, blank=True)
    options = models.JSONField(
        default=dict, blank=True, help_text="agent, prompt, secret names; never a secret."
    )

    state = models.CharField(max_length=16, choices=_choices(JobState), default=JobState.QUEUED.value)
    reason = models.CharField(
        max_length=32, choices=_choices(Reason), blank=True, default=Reason.SUBMITTED.value
    )
    reason_detail = models.TextField(blank=True, help_text="The error or the observation behind the reason.")
    attention = models.CharField(max_length=16, choices=_choices(Attention), blank=True, default="")
    attention_until = models.DateTimeField(null=True, blank=True, help_text="When a limit ends, if known.")
    verdict = models.CharField(max_length=16, choices=_choices(Verdict), blank=True, default="")
    proof = models.BooleanField(
        null=True,
        blank=True,
        help_text="Whether a test proves the change; null: not known, or nothing to prove.",
    )

    sha = models.CharField(max_length=64, blank=True, help_text="The head commit that this job is about.")
    judged_sha = models.CharField(
        max_length=64,
        blank=True,
        help_text="The commit that the verdict is about: the head, or one of a fix.",
    )
    base_sha = models.CharField(max_length=64, blank=True)
    base_ref = models.CharField(max_length=255, blank=True)
    moved_to = models.CharField(max_length=64, blank=True, help_text="A newer head, if one was seen.")
    image = models.CharField(max_length=300, blank=True, help_text="Image digest; empty on a bare worker.")
    worktree = models.CharField(max_length=1000, blank=True)
    tasks = models.JSONField(default=list, blank=True, help_text="Last known state of each task.")
    findings = models.JSONField(default=list, blank=True)
    assessment = models.TextField(blank=True, help_text="assessment.md, as archived.")

    journal_seq = models.PositiveIntegerField(default=0, help_text="The last journal event applied.")
    observed_at = models.DateTimeField(null=True, blank=True, help_text="When the worker was last asked.")
    archived_at = models.DateTimeField(null=True, blank=True, help_text="When logs were copied home.")
    removed_at = models.DateTimeField(null=True, blank=True, help_text="When its files left the worker.")
    lease_owner = models.CharField(max_length=100, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["worker", "session"], condition=Q(removed_at__isnull=True), name="one_job_per_session"
            ),
            models.UniqueConstraint(
                fields=["repository", "target", "action", "name"],
                condition=Q(removed_at__isnull=True),
                name="one_job_per_target_and_action",
            ),
        ]
        indexes = [
            models.Index(fields=["state"]),
            models.Index(fields=["-created_at"]),
            models.Index(fields=["repository", "target"]),
            models.Index(fields=["repository", "number"]),
        ]

    def __str__(self) -> str:
        return self.session

    @property
    def is_active(self) -> bool:
        """Whether the job is on its way or at work."""
        return self.state in JOB_ACTIVE

    @property
    def has_ended(self) -> bool:
        """Whether nothing is at work for this job now (an interrupted job can be resumed)."""
        return self.state in JOB_ENDED

    @property
    def can_resume(self) -> bool:
        """Whether the job can be resumed or retried."""
        return self.state in JOB_RESUMABLE and self.removed_at is None

    @property
    def is_stale(self) -> bool:
        """Whether the target's head has moved away from the commit this job is about."""
        return bool(self.moved_to and self.moved_to != self.sha)

    @property
    def fixed_sha(self) -> str:
        """The commit of a fix, or of an implementation, that the verdict is about; empty: it is the head."""
        return self.judged_sha if self.judged_sha != self.sha else ""

    @property
    def made_word(self) -> str:
        """What `fixed_sha` is: `fixed` or `implemented`."""
        return "implemented" if self.options.get("issue") else "fixed"

    @property
    def reason_text(self) -> str:
        """Return the sentence behind `reason`."""
        if self.action == "open" and self.reason == Reason.FINISHED:
            # Its plan has no tasks; what it is for begins where the plan ends.
            return "The worktree is ready." if self.removed_at is None else "The worktree was removed."
        return REASON_TEXT[Reason(self.reason)]


class Dismissal(models.Model):
    """A row of the inbox that a user marked as done or snoozed. `jobs.operations.inbox` writes it.

    It says nothing of the jobs. It holds until `until`, and until news of the target arrive.
    """

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="dismissals")
    target = models.CharField(max_length=500, help_text="As in `Job.target`.")
    until = models.DateTimeField(null=True, blank=True, help_text="The end of a snooze; null: done.")
    seen = models.BigIntegerField(help_text="The newest event that the user had seen.")
    actor = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["repository", "target"], name="one_dismissal_per_target")
        ]

    def __str__(self) -> str:
        return f"{self.repository} {self.target}"


class WorkerRequest(models.Model):
    """What a user asked to be done to a worker or to a job on it. `jobs.workers.requests` writes it.

    An operation that a command carries out itself has a row too while it runs, with `step` saying how far it
    is, so that the same command continues after a crash.
    """

    worker = models.ForeignKey(Worker, on_delete=models.CASCADE, related_name="requests")
    job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.CASCADE, related_name="requests")
    kind = models.CharField(max_length=16, choices=_choices(RequestKind))
    parameters = models.JSONField(default=dict, blank=True)
    step = models.CharField(max_length=32, blank=True, help_text="How far an operation in several steps is.")
    actor = models.CharField(max_length=150, blank=True)
    requested_at = models.DateTimeField(default=timezone.now)
    state = models.CharField(
        max_length=16, choices=_choices(RequestState), default=RequestState.PENDING.value
    )
    error = models.TextField(blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["state"])]

    def __str__(self) -> str:
        return f"{self.kind} of {self.job or self.worker}"

    @property
    def is_open(self) -> bool:
        """Whether the request is still to be carried out, or is being carried out."""
        return self.state in REQUEST_OPEN


class PullRequest(models.Model):
    """A pull request as its forge last described it. `jobs.execution.pull_requests` writes it.

    All texts come from the forge. `details_at` is null until the fields from `mergeable` on were read; they
    are about `details_sha`, which is older than `head_sha` when the head has moved since.
    """

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="pull_requests")
    number = models.PositiveIntegerField()
    title = models.CharField(max_length=500, blank=True)
    author = models.CharField(max_length=100, blank=True)
    state = models.CharField(max_length=16, default="open", help_text="open, closed or merged.")
    draft = models.BooleanField(default=False)
    url = models.CharField(max_length=1000, blank=True)
    labels = models.JSONField(default=list, blank=True)
    base_ref = models.CharField(max_length=255, blank=True)
    head_ref = models.CharField(max_length=255, blank=True)
    head_repository = models.CharField(max_length=300, blank=True)
    head_sha = models.CharField(max_length=64, blank=True)
    updated_at = models.DateTimeField(null=True, blank=True, help_text="The forge's time of the last change.")
    fetched_at = models.DateTimeField(default=timezone.now)
    details_at = models.DateTimeField(null=True, blank=True)
    details_sha = models.CharField(max_length=64, blank=True)
    mergeable = models.CharField(max_length=8, default="unknown", help_text="yes, no or unknown.")
    merge_state = models.CharField(max_length=20, blank=True)
    review_decision = models.CharField(max_length=20, blank=True)
    can_push = models.BooleanField(default=False, help_text="Maintainers may push to the head branch.")
    additions = models.PositiveIntegerField(default=0)
    deletions = models.PositiveIntegerField(default=0)
    changed_files = models.PositiveIntegerField(default=0)
    linked_issues = models.JSONField(default=list, blank=True)
    checks = models.JSONField(default=list, blank=True, help_text="See jobs.forges.pulls.Check.")
    unresolved_threads = models.PositiveIntegerField(null=True, blank=True, help_text="Null: unknown.")
    base_sha = models.CharField(max_length=64, blank=True)
    threads = models.JSONField(
        null=True,
        blank=True,
        help_text="The unresolved ones, cut; null: unknown. See jobs.forges.pulls.Thread.",
    )
    reviews = models.JSONField(
        null=True, blank=True, help_text="Null: unknown. See jobs.forges.pulls.Review."
    )
    rules = models.JSONField(null=True, blank=True, help_text="Null: unknown. See jobs.forges.pulls.Rules.")
    failures = models.JSONField(
        default=dict, blank=True, help_text="By the number of the CI job; see jobs.forges.ci_log.CiFailure."
    )

    class Meta:
        ordering = ["-updated_at", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["repository", "number"], name="one_row_per_pull_request")
        ]

    def __str__(self) -> str:
        return f"{self.repository}#{self.number}"


class Draft(models.Model):
    """Something to be posted to a forge after a person's yes. `jobs.outbox` writes it."""

    repository = models.ForeignKey(Repository, on_delete=models.PROTECT, related_name="drafts")
    job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.SET_NULL, related_name="drafts")
    number = models.PositiveIntegerField(null=True, help_text="The pull request; null: there is none yet.")
    kind = models.CharField(max_length=16, choices=_choices(DraftKind))
    state = models.CharField(max_length=16, choices=_choices(DraftState), default=DraftState.OPEN.value)
    verdict = models.CharField(max_length=16, default="COMMENT", help_text="As the forge names it.")
    body = models.TextField(blank=True)
    comments = models.JSONField(default=list, blank=True, help_text="path, line and body of each.")
    payload = models.JSONField(default=dict, blank=True, help_text="What else its kind needs.")
    revision = models.PositiveIntegerField(default=0, help_text="Grows with each edit.")
    head_sha = models.CharField(max_length=64, help_text="The commit that the draft is about.")
    mark = models.CharField(max_length=32, unique=True, help_text="In the posted text, to find it again.")
    url = models.CharField(max_length=1000, blank=True, help_text="Where it was posted.")
    error = models.TextField(blank=True, help_text="Why the last attempt to send it failed.")
    actor = models.CharField(max_length=150, blank=True)
    approved_digest = models.CharField(
        max_length=64, blank=True, help_text="Of the preview that a person said yes to."
    )
    approved_by = models.CharField(max_length=150, blank=True)
    attempted = models.BooleanField(default=False, help_text="Whether an attempt may have posted it.")
    sending_until = models.DateTimeField(null=True, blank=True, help_text="One process sends until then.")
    created_at = models.DateTimeField(default=timezone.now)
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["state"])]

    def __str__(self) -> str:
        return f"{self.kind} of {self.repository}#{self.number}"


class ApiToken(models.Model):
    """The right of a program to use the HTTP API until a moment. Of the token itself only a hash is kept."""

    name = models.SlugField(max_length=63, unique=True)
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the token.")
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.CharField(max_length=150, blank=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True, help_text="When it was last used, to the minute.")

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class JobEvent(models.Model):
    """One thing that happened: read from a journal (`seq` set) or done here (`seq` null)."""

    job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.CASCADE, related_name="events")
    worker = models.ForeignKey(Worker, null=True, blank=True, on_delete=models.CASCADE, related_name="events")
    seq = models.PositiveIntegerField(null=True, blank=True, help_text="Journal number, from 1.")
    at = models.DateTimeField(default=timezone.now)
    kind = models.CharField(max_length=40)
    data = models.JSONField(default=dict, blank=True)
    actor = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["job", "seq"], condition=Q(seq__isnull=False), name="one_event_per_journal_number"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.job or self.worker}"
