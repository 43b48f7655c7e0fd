"""Address of the notices that pages show."""

from django.urls import path

from jobs.dashboard.notices import views

urlpatterns = [path("notices/", views.list_notices, name="notices")]
