"""What every endpoint stands on: bodies, parameters, callers, problems, headers."""
