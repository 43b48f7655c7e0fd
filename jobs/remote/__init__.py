"""The far side, seen from here."""
