"""The page of a session's recording."""
