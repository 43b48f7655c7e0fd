"""The jobs app."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Jobs, workers, repositories and their events."""

    name = "jobs"
    default_auto_field = "django.db.models.BigAutoField"
