"""Data from its source to validated and split rows."""
