"""The outbox: drafts of what is to be posted to a forge. Only this package posts.

A draft is posted by `send_draft` and by nothing else; an interface calls it after a person said yes.
"""

from jobs.outbox.drafts import drop_draft, edit_draft, get_draft, list_drafts, make_review
from jobs.outbox.placing import PlacedReview
from jobs.outbox.sending import find_posted, prepare_review, send_draft, send_shown

__all__ = [
    "PlacedReview",
    "drop_draft",
    "edit_draft",
    "find_posted",
    "get_draft",
    "list_drafts",
    "make_review",
    "prepare_review",
    "send_draft",
    "send_shown",
]
