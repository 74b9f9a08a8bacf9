"""Metrics of predictions and their bootstrap, in pure numpy."""
