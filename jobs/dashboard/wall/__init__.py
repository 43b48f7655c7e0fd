"""The wall: what the running sessions show, as live tiles."""
