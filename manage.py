#!/usr/bin/env python
"""Offload from a source tree: `manage.py offload 123 review`, `manage.py serve`, and Django's commands."""

import os
import sys


def main() -> None:
    """Run one command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "offload_web.settings")
    from jobs.errors import OffloadError
    from jobs.invocation import render_commands

    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        if verb in ("offload", "fleet", "doctor"):
            # Django's own way would import every model before it parses, which `--help` does not need.
            from jobs.cli.main import main as run

            sys.exit(run(sys.argv[2:] if verb == "offload" else sys.argv[1:]))
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
    except ModuleNotFoundError as error:
        if error.name != "django":
            raise
        sys.exit(
            "Offload is not set up for this Python. Run `make setup`, then `.venv/bin/python manage.py`."
        )
    except OffloadError as error:
        print(render_commands(f"{error.message}\n{error.hint}".strip()), file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
