"""Addresses of the dashboard."""

from __future__ import annotations

from django.urls import path

from jobs.dashboard.job import views
from jobs.dashboard.workers import views as workers

app_name = "jobs"
urlpatterns = [
    path("", views.job_list, name="list"),
    path("live/", views.job_list_live, name="list-live"),
    path("jobs/new/", views.launch, name="launch"),
    path("jobs/<int:job_id>/", views.job_page, name="job"),
    path("jobs/<int:job_id>/live/", views.job_live, name="job-live"),
    path("jobs/<int:job_id>/diff/", views.job_diff, name="diff"),
    path("jobs/<int:job_id>/cancel/", views.job_cancel, name="cancel"),
    path("jobs/<int:job_id>/resume/", views.job_resume, name="resume"),
    path("jobs/<int:job_id>/trust/", views.job_trust, name="trust"),
    path("jobs/<int:job_id>/remove/", views.job_remove, name="remove"),
    path("jobs/<int:job_id>/logs/<slug:task>/", views.task_log, name="log"),
    path("jobs/<int:job_id>/logs/<slug:task>/part/", views.task_log_part, name="log-part"),
    path("jobs/<int:job_id>/logs/<slug:task>/raw/", views.task_log_raw, name="log-raw"),
    path("workers/", workers.worker_list, name="workers"),
    path("workers/<slug:name>/keep/", workers.worker_keep, name="worker-keep"),
    path("workers/<slug:name>/start/", workers.worker_start, name="worker-start"),
    path("workers/<slug:name>/stop/", workers.worker_stop, name="worker-stop"),
]
