"""Helpers without project knowledge: errors, column names, arrays, days, process settings."""
