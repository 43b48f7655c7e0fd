"""The first-run page: what a first review needs, each with a test."""
