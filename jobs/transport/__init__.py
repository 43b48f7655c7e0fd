"""Transports reach machines: argv lists and bytes. No Django here."""
