"""Who we are at Google: credentials, accounts, roles, login keys."""
