"""Addresses of the settings page."""

from django.urls import path

from jobs.dashboard.settings import views

urlpatterns = [
    path("settings/", views.settings_page, name="settings"),
    path("settings/check/", views.run_checks, name="check"),
]
