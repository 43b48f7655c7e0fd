"""Providers make machines. They know no transport, no ORM, no jobs."""
