"""What `make bench` measures: quality on real data, and what a run costs."""
