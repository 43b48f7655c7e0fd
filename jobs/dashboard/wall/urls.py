"""Address of the wall."""

from django.urls import path

from jobs.dashboard.wall import views

urlpatterns = [path("wall/", views.wall, name="wall")]
