"""Scoring bundles: a run's models as files that are scored without this project."""
