"""Addresses of a job's page and its buttons."""

from django.urls import path

from jobs.dashboard.job import views

urlpatterns = [
    path("jobs/<int:job_id>/", views.job_page, name="job"),
    path("jobs/<int:job_id>/live/", views.job_live, name="job-live"),
    path("jobs/<int:job_id>/cancel/", views.job_cancel, name="cancel"),
    path("jobs/<int:job_id>/answer", views.job_answer, name="answer"),
    path("jobs/<int:job_id>/resume/", views.job_resume, name="resume"),
    path("jobs/<int:job_id>/again/", views.job_again, name="again"),
    path("jobs/<int:job_id>/draft/", views.job_draft, name="draft"),
    path("jobs/<int:job_id>/trust/", views.job_trust, name="trust"),
    path("jobs/<int:job_id>/remove/", views.job_remove, name="remove"),
]
