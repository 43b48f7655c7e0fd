"""`manage.py fleet`, the same as `offload fleet`."""

from jobs.management import Shim


class Command(Shim):
    """Pass the arguments on."""

    prefix = ("fleet",)
