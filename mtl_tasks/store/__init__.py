"""Artifacts, the registry of runs, and decisions about runs."""
