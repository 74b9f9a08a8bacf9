"""What is kept: artifacts, the registry, and what people decide about runs."""
