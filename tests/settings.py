"""Settings for tests: the product's own, in a home that is thrown away."""

import atexit
import os
import shutil
import tempfile

_home = tempfile.mkdtemp(prefix="offload-test-home-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ["OFFLOAD_HOME"] = _home
for _name in [name for name in os.environ if name.startswith("OFFLOAD_") and name != "OFFLOAD_HOME"]:
    del os.environ[_name]
# What the tester has of containers decides nothing; tests that are about it say so.
os.environ["OFFLOAD_CONTAINER"] = "never"

from offload_web.settings import *  # noqa: E402, F403

# A file, not shared memory: what threads and processes do to each other is then what they do for real.
DATABASES["default"]["TEST"] = {"NAME": f"{_home}/test.sqlite3"}  # noqa: F405
