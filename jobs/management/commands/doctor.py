"""`manage.py doctor`, the same as `offload doctor`."""

from jobs.management import Shim


class Command(Shim):
    """Pass the arguments on."""

    prefix = ("doctor",)
