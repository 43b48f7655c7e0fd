"""Any git repository: a directory, or a server whose pages Offload does not know."""

from jobs.forges.plain.forge import Plain

__all__ = ["Plain"]
