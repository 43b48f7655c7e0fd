"""git on the worker: mirrors, worktrees, fetched and unsaved commits."""
