"""The JSON of jobs and workers, for every interface."""

from jobs.serializers.job import commands_for, job_json, shown_target

__all__ = ["commands_for", "job_json", "shown_target"]
