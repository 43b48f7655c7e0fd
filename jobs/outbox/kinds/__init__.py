"""The kinds of drafts: what each looks like, how it is posted, and how an earlier attempt is found."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.errors import NotConfigured
from jobs.models import Draft
from jobs.outbox.kinds.base import Kind, Place
from jobs.outbox.kinds.labels import LabelsKind
from jobs.outbox.kinds.pull_request import PullRequestKind
from jobs.outbox.kinds.push import PushKind
from jobs.outbox.kinds.reply import ReplyKind
from jobs.outbox.kinds.review import ReviewKind
from jobs.outbox.kinds.status import StatusKind
from jobs.states import DraftKind

__all__ = ["Kind", "Place", "kind_of"]

_KINDS: Mapping[str, Kind] = {
    DraftKind.REVIEW.value: ReviewKind(),
    DraftKind.PUSH.value: PushKind(),
    DraftKind.PULL_REQUEST.value: PullRequestKind(),
    DraftKind.LABELS.value: LabelsKind(),
    DraftKind.REPLY.value: ReplyKind(),
    DraftKind.STATUS.value: StatusKind(),
}


def kind_of(draft: Draft) -> Kind:
    """Return the kind of a draft. Raises `NotConfigured` for one that this version does not know."""
    try:
        return _KINDS[draft.kind]
    except KeyError:
        raise NotConfigured(f"Draft {draft.id} is a {draft.kind}, which cannot be sent.") from None
