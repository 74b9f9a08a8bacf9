"""The command line: commands, their options, and tables for the terminal."""
