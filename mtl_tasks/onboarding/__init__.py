"""What can be told of a log before its first run: what a scenario makes of it, and the draft of a scenario for it."""
