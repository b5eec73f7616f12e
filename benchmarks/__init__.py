"""Commands that measure, each printing a table."""
