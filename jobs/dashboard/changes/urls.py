"""Address of a job's diff."""

from django.urls import path

from jobs.dashboard.changes import views

urlpatterns = [path("jobs/<int:job_id>/diff/", views.job_diff, name="diff")]
