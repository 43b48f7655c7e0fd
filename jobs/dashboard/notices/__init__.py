"""Notices in the browser: what has happened since the page last asked."""
