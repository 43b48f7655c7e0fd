"""The Compute Engine API: requests, errors, machines, prices."""
