"""What a session's pane shows."""
