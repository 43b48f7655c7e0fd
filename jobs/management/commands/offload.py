"""`manage.py offload`, the same as the program `offload`."""

from jobs.management import Shim


class Command(Shim):
    """Pass the arguments on."""
