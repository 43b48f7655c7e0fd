"""The user's own terminal, attached to a session."""
