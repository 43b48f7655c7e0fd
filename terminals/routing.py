"""Where the terminals' WebSockets are."""

from __future__ import annotations

from django.urls import re_path

from terminals.consumers import application

# A plain ASGI application: Channels routes to it as to a view, Django's types know only views.
websocket_urlpatterns = [
    re_path(r"^ws/terminals/(?P<job_id>\d{1,18})/(?P<kind>session|shell)/$", application),  # type: ignore[arg-type]
]
