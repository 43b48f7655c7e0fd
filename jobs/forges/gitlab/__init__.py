"""GitLab, hosted or self-managed."""

from jobs.forges.gitlab.forge import GitLab

__all__ = ["GitLab"]
