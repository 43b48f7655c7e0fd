"""The composition root as a Django app."""

from django.apps import AppConfig


class OffloadWebConfig(AppConfig):
    """Dashboard, login, serving."""

    name = "offload_web"

    def ready(self) -> None:
        """Register the system checks."""
        from offload_web import checks  # noqa: F401
