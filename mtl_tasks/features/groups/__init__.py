"""Groups of features; each counts what it needs day by day."""
