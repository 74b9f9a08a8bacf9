"""Small things that know nothing of this project: errors, column names, arrays, days, threads."""
