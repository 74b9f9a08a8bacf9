"""Evaluation of a run: metrics with intervals, drift, and the gate."""
