"""GitHub and GitHub Enterprise."""

from jobs.forges.github.forge import GitHub

__all__ = ["GitHub"]
