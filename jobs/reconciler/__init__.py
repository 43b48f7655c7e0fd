"""The loop that carries out requests and follows workers."""

from jobs.reconciler.duties import DUTIES
from jobs.reconciler.loop import Duty, Reconciler, Work

__all__ = ["DUTIES", "Duty", "Reconciler", "Work"]
