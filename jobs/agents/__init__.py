"""Coding agents: how to call them, and their isolated profiles."""
