"""What interfaces may ask of workers and jobs: functions with typed input and a typed result.

Command line, pages and API call these and only these. An operation reports its steps to a `Progress`
function. It never asks: what needs an answer is returned as a `ConfirmationPlan`.
"""

from typing import TYPE_CHECKING

from jobs.lazy import load_on_first_use

if TYPE_CHECKING:
    from jobs.operations.observe import JobFilter, list_jobs, observe_jobs
    from jobs.operations.progress import Progress, silent

__all__ = ["JobFilter", "Progress", "list_jobs", "observe_jobs", "silent"]

__getattr__ = load_on_first_use(__name__, __file__)
