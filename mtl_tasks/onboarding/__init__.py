"""Onboarding of a log before its first run: check a scenario against it, or draft a scenario for it."""
