"""Paths and locks below Offload's root."""
