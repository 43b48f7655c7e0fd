"""Addresses of the workers page and its buttons."""

from django.urls import path

from jobs.dashboard.workers import views

urlpatterns = [
    path("workers/", views.worker_list, name="workers"),
    path("workers/<slug:name>/keep/", views.worker_keep, name="worker-keep"),
    path("workers/<slug:name>/start/", views.worker_start, name="worker-start"),
    path("workers/<slug:name>/stop/", views.worker_stop, name="worker-stop"),
]
