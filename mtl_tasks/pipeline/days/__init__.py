"""Per-day artifacts, which runs share: the log, its factors, its features."""
