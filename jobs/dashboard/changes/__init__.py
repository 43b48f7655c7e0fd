"""The page of a job's diff."""
