"""Services beside the store that results are written to; each is imported only where a scenario names it."""
