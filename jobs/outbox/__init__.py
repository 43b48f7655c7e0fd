"""The outbox: drafts of what is to be posted to a forge. Only this package posts.

A draft is posted after a person's yes to its preview, and by nothing else: at once by `send_draft`, or by the
reconciler, which calls `send_group` for what `approve_drafts` recorded.
"""

from jobs.outbox.drafts import (
    approve_drafts,
    count_drafts,
    drop_draft,
    edit_draft,
    get_draft,
    list_drafts,
    list_group,
    make_review,
    resume_group,
    waiting_groups,
)
from jobs.outbox.preview import Preview
from jobs.outbox.sending import find_posted, prepare_draft, prepare_group, send_draft, send_group, send_shown

__all__ = [
    "Preview",
    "approve_drafts",
    "count_drafts",
    "drop_draft",
    "edit_draft",
    "find_posted",
    "get_draft",
    "list_drafts",
    "list_group",
    "make_review",
    "prepare_draft",
    "prepare_group",
    "resume_group",
    "send_draft",
    "send_group",
    "send_shown",
    "waiting_groups",
]
