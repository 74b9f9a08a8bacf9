"""Feature groups; each updates its own statistics day by day."""
