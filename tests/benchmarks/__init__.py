"""Benchmarks of `make bench`: quality on real data, and the cost of a run."""
