"""What has happened since a page last asked, for the browser's own notifications."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_GET

from jobs.operations import newest_event_id, recent_events
from jobs.serializers import notice_json

MOST = 20


@require_GET
def list_notices(request: HttpRequest) -> JsonResponse:
    """Return the newest notices after the event `since`, and the event to name the next time."""
    since = request.GET.get("since", "")
    after = int(since) if since.isascii() and since.isdecimal() and len(since) < 19 else newest_event_id()
    newest = newest_event_id()
    found = [notice_json(event, event.job) for event in recent_events(after) if event.job is not None]
    return JsonResponse({"newest": newest, "notices": [notice for notice in found if notice][-MOST:]})
