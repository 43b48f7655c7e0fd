"""The page of the workers."""
