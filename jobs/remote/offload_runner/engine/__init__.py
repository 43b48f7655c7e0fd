"""The interpreter of plans and the journal it writes."""
