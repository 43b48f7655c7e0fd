"""Playbooks: pure functions from a context to a plan."""
