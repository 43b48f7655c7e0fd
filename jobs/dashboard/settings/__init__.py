"""The page of settings and checks."""
