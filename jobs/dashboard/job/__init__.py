"""A job's page."""
