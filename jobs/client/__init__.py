"""The jobs that a command is about: those of this computer, or of the dashboard that OFFLOAD_URL names.

`get_client` returns one of two classes with the same methods, so that no interface knows which it has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from django.conf import settings

if TYPE_CHECKING:
    from jobs.client.here import Here
    from jobs.client.remote import Remote
    from jobs.models import Job
    from jobs.serializers import JobJson

    Client: TypeAlias = Here | Remote

__all__ = ["get_client", "get_remote", "is_remote", "json_of"]


def is_remote() -> bool:
    """Return whether commands are about a remote dashboard."""
    return bool(settings.OFFLOAD.url)


def get_client() -> Client:
    """Return the client that the settings ask for. Raises `NotConfigured`."""
    if (remote := get_remote()) is not None:
        return remote
    from jobs.client.here import Here

    return Here()


def get_remote() -> Remote | None:
    """Return the client of the remote dashboard; None when commands are about this computer.

    Raises `NotConfigured` for a bad address or a missing token.
    """
    if not is_remote():
        return None
    from jobs.client.remote import open_remote

    return open_remote(settings.OFFLOAD.url)


def json_of(job: Job) -> JobJson:
    """Return a job as data; one of a remote dashboard exactly as it was received."""
    received: JobJson | None = getattr(job, "received", None)
    if received is not None:
        return received
    from jobs.serializers import job_json  # loads what a list of jobs does not need

    return job_json(job)
