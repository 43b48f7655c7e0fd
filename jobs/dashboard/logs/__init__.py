"""The page of a task's log."""
