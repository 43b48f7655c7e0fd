"""Checks before the first machine, and what repairs a failed one."""
