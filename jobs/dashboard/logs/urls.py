"""Addresses of a task's log."""

from django.urls import path

from jobs.dashboard.logs import views

urlpatterns = [
    path("jobs/<int:job_id>/logs/<slug:task>/", views.log_page, name="log"),
    path("jobs/<int:job_id>/logs/<slug:task>/part/", views.log_part, name="log-part"),
    path("jobs/<int:job_id>/logs/<slug:task>/search/", views.log_search, name="log-search"),
    path("jobs/<int:job_id>/logs/<slug:task>/raw/", views.log_raw, name="log-raw"),
]
