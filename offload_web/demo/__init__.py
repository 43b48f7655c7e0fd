"""The tour: a small repository with an open pull request, a real review of it, and the dashboard."""

from offload_web.demo.tour import run, stop

__all__ = ["run", "stop"]
