"""The outbox: drafts, their previews, and a person's yes."""
