"""Bitbucket Data Center; Bitbucket Cloud as far as it publishes refs."""

from jobs.forges.bitbucket.forge import Bitbucket

__all__ = ["Bitbucket"]
