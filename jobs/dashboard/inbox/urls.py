"""Addresses of the inbox."""

from django.urls import path

from jobs.dashboard.inbox import views

urlpatterns = [
    path("", views.job_list, name="list"),
    path("live/", views.job_list_live, name="list-live"),
    path("inbox/", views.mark_rows, name="mark"),
    path("inbox/review/", views.review_rows, name="review-rows"),
    path("inbox/pulls/", views.read_pulls, name="read-pulls"),
    path("jobs/new/", views.launch, name="launch"),
    path("jobs/new/targets/", views.launch_targets, name="launch-targets"),
    path("jobs/new/choices/", views.launch_choices, name="launch-choices"),
]
