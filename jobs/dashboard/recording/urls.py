"""Addresses of a recording: a namespace of its own, because its pages have their own content policy."""

from django.urls import path

from jobs.dashboard.recording import views

app_name = "recordings"
urlpatterns = [
    path("jobs/<int:job_id>/recording/", views.recording_page, name="page"),
    path("jobs/<int:job_id>/recording.cast", views.recording_file, name="file"),
]
