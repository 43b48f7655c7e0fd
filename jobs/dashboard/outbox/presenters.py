"""Drafts as pages show them: words, icons, safe HTML. Writes nothing, decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.utils import timezone
from django.utils.safestring import SafeString

from jobs.dashboard.changes.presenters import render_hunk
from jobs.dashboard.job.markdown import render_markdown
from jobs.dashboard.present import DRAFTS, Mark, mark_of
from jobs.errors import OffloadError
from jobs.models import Draft, PullRequest
from jobs.outbox import Preview
from jobs.states import DraftKind, DraftState

_KINDS = {
    DraftKind.REVIEW: "Review",
    DraftKind.PUSH: "Push",
    DraftKind.PULL_REQUEST: "Pull request",
    DraftKind.STATUS: "Commit status",
    DraftKind.LABELS: "Labels",
    DraftKind.REPLY: "Answer to a thread",
}
_EDITABLE = frozenset({DraftKind.REVIEW.value, DraftKind.REPLY.value, DraftKind.PULL_REQUEST.value})


@dataclass(frozen=True)
class CommentView:
    """A comment of a review. `place`: its file and line; `rows`: the lines of the diff that it is about."""

    place: str
    body: SafeString
    rows: SafeString


@dataclass(frozen=True)
class DraftView:
    """A draft; with its preview or the reason why there is none, when the forge was asked."""

    draft: Draft
    preview: Preview | None = None
    error: OffloadError | None = None

    @property
    def kind(self) -> str:
        """Return the kind in words."""
        return _KINDS.get(DraftKind(self.draft.kind), self.draft.kind)

    @property
    def title(self) -> str:
        """Return what sending it does."""
        return self.preview.title if self.preview else self.kind

    @property
    def is_under_way(self) -> bool:
        """Return whether a process sends it now."""
        until = self.draft.sending_until
        return self.draft.state == DraftState.SENDING and until is not None and until > timezone.now()

    @property
    def mark(self) -> Mark:
        """Return its state as a mark."""
        state = self.draft.state
        if state == DraftState.SENDING and not self.is_under_way:
            state = "unknown"
        elif state == DraftState.OPEN and self.draft.error:
            state = "not_sent"
        return mark_of(DRAFTS, state)

    @property
    def is_open(self) -> bool:
        """Return whether it can be edited, dropped and sent."""
        return self.draft.state == DraftState.OPEN

    @property
    def can_edit(self) -> bool:
        """Return whether it has a text that can be edited."""
        return self.is_open and self.draft.kind in _EDITABLE

    @property
    def can_resume(self) -> bool:
        """Return whether a person's yes is kept from an attempt that stopped."""
        stopped = self.is_open or (self.draft.state == DraftState.SENDING and not self.is_under_way)
        return stopped and bool(self.draft.approved_digest or self.draft.attempted)

    @property
    def yes(self) -> str:
        """Return what the form names: the draft and the preview that is shown."""
        return f"{self.draft.id}:{self.preview.digest}" if self.preview and self.is_open else ""

    @property
    def body(self) -> SafeString:
        """Return the text as HTML: as it will appear, else as it is stored."""
        return render_markdown(self.preview.body if self.preview else self.draft.body)

    @property
    def quote(self) -> SafeString:
        """Return the text that is answered as HTML."""
        return render_markdown(self.preview.quote if self.preview else "")

    @property
    def first_line(self) -> str:
        """Return the beginning of the text, for a list."""
        line = next((line for line in self.draft.body.split("\n") if line.strip(" #>*-`")), "")
        return line.strip(" #>*-`")[:200]

    @property
    def comments(self) -> list[CommentView]:
        """Return the comments of a review: as they will appear, else as they are stored."""
        if self.preview is None:
            stored = ((c["path"], c["line"], c["body"], "") for c in self.draft.comments)
        else:
            pairs = zip(self.preview.comments, self.preview.contexts, strict=True)
            stored = ((c.path, c.line, c.body, context) for c, context in pairs)
        return [
            CommentView(
                f"{path}:{line}" if line else f"{path} (the file)", render_markdown(body), render_hunk(rows)
            )
            for path, line, body, rows in stored
        ]

    @property
    def url(self) -> str:
        """Return where it was posted, when that is a web address."""
        return self.draft.url if urlsplit(self.draft.url).scheme in ("http", "https") else ""


@dataclass(frozen=True)
class GroupView:
    """The drafts of one pull request, or of a job without one."""

    drafts: list[DraftView]
    pull: PullRequest | None = None

    @property
    def first(self) -> Draft:
        """Return the draft by which pages name the group."""
        return self.drafts[0].draft

    @property
    def name(self) -> str:
        """Return the pull request's number, or the job's target."""
        first = self.first
        if first.number is not None:
            return f"#{first.number}"
        return first.job.target if first.job else "no job"

    @property
    def title(self) -> str:
        """Return the pull request's title."""
        job = self.first.job
        return self.pull.title if self.pull and self.pull.title else job.title if job else ""

    @property
    def jobs(self) -> str:
        """Return the id of the job whose events concern the page."""
        return str(self.first.job_id or "")

    @property
    def can_resume(self) -> bool:
        """Return whether an attempt stopped before all was sent."""
        return any(view.can_resume for view in self.drafts)

    @property
    def can_send(self) -> bool:
        """Return whether one can be sent."""
        return any(view.yes for view in self.drafts)

    @property
    def is_under_way(self) -> bool:
        """Return whether something is being sent, or will be soon."""
        return any(view.is_under_way or view.draft.state == DraftState.APPROVED for view in self.drafts)


def pulls_of(drafts: Iterable[Draft]) -> dict[tuple[int, int], PullRequest]:
    """Return the known pull requests of drafts by repository and number."""
    wanted = {(draft.repository_id, draft.number) for draft in drafts}
    rows = PullRequest.objects.filter(
        repository__in={repository for repository, _ in wanted}, number__in={n for _, n in wanted if n}
    )
    return {(row.repository_id, row.number): row for row in rows}


def groups_of(drafts: Iterable[Draft]) -> list[GroupView]:
    """Return drafts by pull request, the one with the newest draft first."""
    drafts = list(drafts)
    pulls = pulls_of(drafts)
    groups: dict[tuple[int, int | None, int | None], list[DraftView]] = {}
    for draft in sorted(drafts, key=lambda draft: -draft.id):
        key = (draft.repository_id, draft.number, draft.job_id if draft.number is None else None)
        groups.setdefault(key, []).append(DraftView(draft))
    return [GroupView(views, pulls.get((key[0], key[1] or 0))) for key, views in groups.items()]


@dataclass(frozen=True)
class CommentField:
    """A comment in the form. `stored`: the text that another person saved meanwhile, where it differs."""

    place: str
    text: str
    stored: str = ""


def comment_fields(
    draft: Draft, typed: Sequence[tuple[str, str]]
) -> tuple[list[CommentField], list[CommentField]]:
    """Return the fields of a draft's comments, and of texts that were typed for comments that are gone.

    `typed`: places and texts as a person sent them; a comment that has none keeps its text.
    """
    left = list(typed)
    fields = []
    for comment in draft.comments:
        place = f"{comment['path']}:{comment['line']}" if comment["line"] else str(comment["path"])
        stored = str(comment["body"])
        mine = next((pair for pair in left if pair[0] == place), None)
        if mine is not None:
            left.remove(mine)
        text = stored if mine is None else mine[1]
        fields.append(CommentField(place, text, "" if text == stored else stored))
    return fields, [CommentField(place, text) for place, text in left if text]
