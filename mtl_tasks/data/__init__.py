"""From a source to validated and split rows."""
