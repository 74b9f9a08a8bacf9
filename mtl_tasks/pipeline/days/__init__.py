"""Artifacts that belong to days rather than to runs: the log, its factors, its features."""
