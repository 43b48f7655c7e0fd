"""Every page's address."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from offload_web.login import login_view, logout_view

urlpatterns: list[URLPattern | URLResolver] = [
    path("login/", login_view, name="login"),
    path("logout/", logout_view, name="logout"),
    path("api/v1/", include("jobs.api.urls")),
    path("", include("jobs.dashboard.urls")),
    path("", include("jobs.dashboard.recording.urls")),
    path("", include("terminals.urls")),
]
