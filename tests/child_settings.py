"""Settings for a `manage.py` that a test starts: the product's own, on the test's database."""

import os

from offload_web.settings import *  # noqa: F403

DATABASES["default"]["NAME"] = os.environ["OFFLOAD_TEST_DATABASE"]  # noqa: F405
