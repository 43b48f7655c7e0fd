"""Google Compute Engine. `provider` is the contract, `network` what it stands on, `prices` what it costs.

Only `api` imports Google's client library, at first use. `simulator` is a hostile Compute API on loopback.
"""
