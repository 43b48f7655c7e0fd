"""Addresses of the dashboard, collected from the folder of each page."""

from __future__ import annotations

from jobs.dashboard.changes.urls import urlpatterns as changes
from jobs.dashboard.inbox.urls import urlpatterns as inbox
from jobs.dashboard.job.urls import urlpatterns as job
from jobs.dashboard.logs.urls import urlpatterns as logs
from jobs.dashboard.notices.urls import urlpatterns as notices
from jobs.dashboard.outbox.urls import urlpatterns as outbox
from jobs.dashboard.settings.urls import urlpatterns as settings
from jobs.dashboard.start.urls import urlpatterns as start
from jobs.dashboard.wall.urls import urlpatterns as wall
from jobs.dashboard.workers.urls import urlpatterns as workers

app_name = "jobs"
urlpatterns = [*inbox, *job, *changes, *logs, *notices, *outbox, *wall, *workers, *settings, *start]
