"""The container that jobs run in: its specification, its life, its image."""
