"""Addresses of the first-run page."""

from django.urls import path

from jobs.dashboard.start import views

urlpatterns = [
    path("start/", views.start, name="start"),
    path("start/<slug:name>/", views.check_step, name="start-check"),
]
