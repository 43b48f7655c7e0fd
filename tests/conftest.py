"""What every test may count on."""

import os
import signal
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

# `docs/generate.py` is a script, not a package of the product.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# A busy machine draws examples slowly; that is no finding.
settings.register_profile("offload", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("offload")

# Started in the background (by a CI system, by nohup), Python inherits ignored signals and hands them on
# to every child: then no Ctrl-C and no hang-up could be tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
    signal.signal(_number, signal.SIG_DFL)

# Panes and side shells open this one, not the tester's own with its start-up files.
os.environ["SHELL"] = str(Path(__file__).resolve().parent / "support" / "plain-shell")
