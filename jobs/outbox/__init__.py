"""The outbox: drafts of what is to be posted to a forge. Only this package posts.

A draft is posted after a person's yes to its preview, or by the rule `auto_send` that a person set.
`send_draft` posts at once; the reconciler calls `send_group` for what `approve_drafts` recorded.
"""

from jobs.outbox.drafts import (
    approve_drafts,
    count_drafts,
    drop_draft,
    edit_draft,
    get_draft,
    list_drafts,
    list_group,
    make_labels,
    make_reply,
    make_review,
    make_status,
    resume_group,
    waiting_groups,
)
from jobs.outbox.implementations import make_pull
from jobs.outbox.preview import Preview
from jobs.outbox.pushing import make_push
from jobs.outbox.sending import (
    apply_rules,
    find_posted,
    find_thread,
    prepare_draft,
    prepare_group,
    send_draft,
    send_group,
    send_shown,
)

__all__ = [
    "Preview",
    "apply_rules",
    "approve_drafts",
    "count_drafts",
    "drop_draft",
    "edit_draft",
    "find_posted",
    "find_thread",
    "get_draft",
    "list_drafts",
    "list_group",
    "make_labels",
    "make_pull",
    "make_push",
    "make_reply",
    "make_review",
    "make_status",
    "prepare_draft",
    "prepare_group",
    "resume_group",
    "send_draft",
    "send_group",
    "send_shown",
    "waiting_groups",
]
