"""Numbers about predictions, in numpy alone."""
