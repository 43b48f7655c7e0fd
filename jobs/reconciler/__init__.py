"""The loop that carries out requests and follows workers."""

from jobs.reconciler.loop import Reconciler

__all__ = ["Reconciler"]
