"""Measurements of Offload, run by hand and before releases."""
