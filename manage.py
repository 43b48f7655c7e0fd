#!/usr/bin/env python
"""Offload's command line: `manage.py offload 123 review`, `manage.py serve`, `manage.py doctor`."""

import json
import os
import sys


def main() -> None:
    """Run one management command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "offload_web.settings")
    try:
        from django.core.management import execute_from_command_line
    except ModuleNotFoundError as error:
        if error.name != "django":
            raise
        sys.exit(
            "Offload is not set up for this Python. Run `make setup`, then `.venv/bin/python manage.py`."
        )
    from jobs.errors import OffloadError

    try:
        execute_from_command_line(sys.argv)
    except OffloadError as error:
        # The configuration is read before there is a command that could say what is wrong with it.
        if "--json" in sys.argv:
            print(json.dumps({"error": {"code": error.code, "message": error.message, "hint": error.hint}}))
        else:
            print(f"{error.message}\n{error.hint}".strip(), file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
