"""Terminals in the browser. Enters jobs only through `jobs.workers`."""
