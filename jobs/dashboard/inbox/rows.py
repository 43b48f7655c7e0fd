"""The inbox's rows as markup. A page that has a row already is sent its place alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2s

from django.http import HttpRequest
from django.template.loader import get_template
from django.utils.html import format_html, strip_spaces_between_tags
from django.utils.safestring import SafeString, mark_safe

from jobs.dashboard.inbox.presenters import Group, Inbox, Row

VERSION_BYTES = 6
MOST_VERSIONS = 1_000
VERSIONS_HEADER = "Offload-Rows"


@dataclass(frozen=True)
class RenderedGroup:
    """A group and the markup of its rows."""

    group: Group
    rows: Sequence[SafeString]


def known_versions(request: HttpRequest) -> frozenset[str]:
    """Return the versions of the rows that an open page has: `Offload-Rows: 1f0c…,9a31…`."""
    return frozenset(request.headers.get(VERSIONS_HEADER, "").split(",", MOST_VERSIONS)[:MOST_VERSIONS])


def render_groups(inbox: Inbox, known: frozenset[str] = frozenset()) -> list[RenderedGroup]:
    """Return the groups with their rows; a row whose version is in `known` is empty and has `data-same`."""
    return [
        RenderedGroup(group, [_render_row(row, group, known) for row in group.rows]) for group in inbox.groups
    ]


def _render_row(row: Row, group: Group, known: frozenset[str]) -> SafeString:
    template = get_template("inbox/_row.html" if row.views else "inbox/_pull.html")
    # Without the template's own indentation: a page has many rows.
    text = re.sub(
        r"\s+", " ", strip_spaces_between_tags(template.render({"row": row, "group": group}).strip())
    )
    # The version is not part of what it is computed from, and the group is: its buttons differ.
    version = blake2s(f"{row.id} {text}".encode(), digest_size=VERSION_BYTES).hexdigest()
    if version in known:
        return format_html('<li id="{}" data-same></li>', row.id)
    # Safe: a template wrote it, with its values escaped.
    content = mark_safe(text)  # noqa: S308
    name = "row removed" if row.views and row.job.removed_at else "row"
    return format_html('<li class="{}" id="{}" data-version="{}">{}</li>', name, row.id, version, content)
