"""The terminals' pages. The composition root includes this at its root."""

from __future__ import annotations

from django.urls import path

from terminals import views

app_name = "terminals"
urlpatterns = [
    path("terminals/<int:job_id>/", views.page, {"kind": "session"}, name="session"),
    path("terminals/<int:job_id>/shell/", views.page, {"kind": "shell"}, name="shell"),
    path("terminals/<int:job_id>/remedies/", views.remedies, name="remedies"),
    path("terminals/<int:job_id>/files/", views.upload, name="upload"),
    path("terminals/<int:job_id>/file/", views.download, name="download"),
]
