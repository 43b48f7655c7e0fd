"""Addresses of the workers page and its buttons."""

from django.urls import path

from jobs.dashboard.workers import views

urlpatterns = [
    path("workers/", views.worker_list, name="workers"),
    path("workers/add/", views.worker_add, name="worker-add"),
    path("workers/<slug:name>/keep/", views.worker_keep, name="worker-keep"),
    path("workers/<slug:name>/start/", views.worker_start, name="worker-start"),
    path("workers/<slug:name>/rebuild/", views.worker_rebuild, name="worker-rebuild"),
    path("workers/<slug:name>/stop/", views.worker_stop, name="worker-stop"),
]
